// Raw values to scaled ones. Compiled without contraction to fused multiply-add, like scaler.cpp: a scaled value
// is the same on every CPU.
#include "isa.hpp"
#include "simd.hpp"

namespace etcc::ETCC_ISA {
namespace {

constexpr std::size_t batch = 16;  // searches that run side by side, to hide each other's waits

// The last knot at or below each value; the values are clamped to the knots' range. NaN ends at knot 0.
inline void search(const Column& column, const float* values, std::int32_t* knot) {
  for (std::size_t i = 0; i < batch; ++i) knot[i] = 0;
  for (std::size_t left = column.count; left > 1;) {
    const std::size_t half = left / 2;
    const float* middle = column.x + half;
    for (std::size_t i = 0; i < batch; ++i) knot[i] += middle[knot[i]] <= values[i] ? static_cast<std::int32_t>(half) : 0;
    left -= half;
  }
}

inline float piece(const Knot& knot, float value) {
  const float scaled = knot.y + (value - knot.x) * knot.slope;
  return scaled < knot.cap ? scaled : knot.cap;
}

// Calls use(row number, value, clamped value, knot) for every row of a column.
template <class Use>
inline void each(const Column& column, const float* raw, std::size_t features, const std::int64_t* index,
                 std::size_t n, Use use) {
  const float low = column.x[0];
  const float high = column.x[column.count - 1];
  const float* source = raw + column.source;
  for (std::size_t start = 0; start < n; start += batch) {
    const std::size_t count = n - start < batch ? n - start : batch;
    float value[batch];
    float inside[batch];
    std::int32_t knot[batch];
    for (std::size_t i = 0; i < count; ++i) value[i] = source[static_cast<std::size_t>(index[start + i]) * features];
    for (std::size_t i = count; i < batch; ++i) value[i] = low;
    for (std::size_t i = 0; i < batch; ++i) {
      const float above = value[i] < low ? low : value[i];
      inside[i] = high < above ? high : above;
    }
    search(column, inside, knot);
    for (std::size_t i = 0; i < count; ++i) use(start + i, inside[i], knot[i]);
  }
}

void scale(const Column* columns, std::size_t count, const float* raw, std::size_t features, const std::int64_t* index,
           std::size_t n, float* out, std::size_t row_stride, std::size_t column_stride) {
  for (std::size_t c = 0; c < count; ++c) {
    const Column& column = columns[c];
    float* to = out + c * column_stride;
    each(column, raw, features, index, n, [&](std::size_t i, float value, std::int32_t knot) {
      to[i * row_stride] = value == value ? piece(column.knots[knot], value) : column.missing;
    });
  }
}

void locate(const Column* columns, std::size_t count, const float* raw, std::size_t features,
            const std::int64_t* index, std::size_t n, float bins, std::int32_t* row, float* fraction,
            std::size_t stride) {
  for (std::size_t c = 0; c < count; ++c) {
    const Column& column = columns[c];
    each(column, raw, features, index, n, [&](std::size_t i, float value, std::int32_t knot) {
      const bool known = value == value;
      const float place = bins * (known ? piece(column.knots[knot], value) : column.missing);
      const auto whole = static_cast<std::int32_t>(place);  // at least 0
      row[c * stride + i] = (known ? column.rows[knot] : column.missing_row) + whole;
      fraction[c * stride + i] = place - static_cast<float>(whole);
    });
  }
}

}  // namespace

void fill_scale_kernels(Kernels& kernels) {
  kernels.scale = scale;
  kernels.locate = locate;
}

}  // namespace etcc::ETCC_ISA
