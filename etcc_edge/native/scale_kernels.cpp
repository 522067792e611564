// Raw values to scaled ones. Compiled without contraction to fused multiply-add, like scaler.cpp: a scaled value
// is the same on every CPU.
#include "isa.hpp"
#include "simd.hpp"

namespace etcc::ETCC_ISA {
namespace {

constexpr std::size_t together = lanes >= 16 ? 2 : 4;  // vectors searched side by side, to hide each other's waits
constexpr std::size_t batch = together * lanes;

struct Found {
  Vec value;  // as it came
  Vec scaled;
  IntVec knot;
};

// Calls use(first row, Found) for every vector of a column's rows; the last may reach beyond n.
template <class Use>
inline void each(const Column& column, const float* raw, std::size_t features, const std::int64_t* index,
                 std::size_t n, Use use) {
  const float low = column.x[0];
  const float high = column.x[column.count - 1];
  const float* source = raw + column.source;
  for (std::size_t start = 0; start < n; start += batch) {
    const std::size_t count = n - start < batch ? n - start : batch;
    float values[batch];
    for (std::size_t i = 0; i < count; ++i) values[i] = source[static_cast<std::size_t>(index[start + i]) * features];
    for (std::size_t i = count; i < batch; ++i) values[i] = low;
    const std::size_t vectors = (count + lanes - 1) / lanes;
    Vec inside[together];  // NaN stays, and ends at knot 0
    IntVec knot[together] = {};
    for (std::size_t v = 0; v < together; ++v) {
      const Vec value = load(values + v * lanes);
      const Vec above = value < low ? low + Vec{} : value;
      inside[v] = above > high ? high + Vec{} : above;
    }
    for (std::size_t left = column.count; left > 1;) {
      const auto half = static_cast<std::int32_t>(left / 2);
      const float* middle = column.x + half;
      for (std::size_t v = 0; v < together; ++v) knot[v] += (gather(middle, knot[v]) <= inside[v]) & half;
      left -= static_cast<std::size_t>(half);
    }
    for (std::size_t v = 0; v < vectors; ++v) {
      const Vec from = gather(column.x, knot[v]);
      const Vec scaled = gather(column.y, knot[v]) + (inside[v] - from) * gather(column.slope, knot[v]);
      use(start + v * lanes, Found{load(values + v * lanes), scaled, knot[v]});
    }
  }
}

void scale(const Column* columns, std::size_t count, const float* raw, std::size_t features, const std::int64_t* index,
           std::size_t n, float* out) {
  for (std::size_t c = 0; c < count; ++c) {
    const Column& column = columns[c];
    each(column, raw, features, index, n, [&](std::size_t first, const Found& found) {
      const Vec cap = gather(column.y + 1, found.knot);
      const Vec capped = found.scaled < cap ? found.scaled : cap;
      const Vec scaled = found.value == found.value ? capped : column.missing + Vec{};
      for (std::size_t l = 0; l < lanes && first + l < n; ++l) out[(first + l) * count + c] = scaled[l];
    });
  }
}

void locate(const Column* columns, std::size_t count, const float* raw, std::size_t features,
            const std::int64_t* index, std::size_t n, float bins, std::int32_t* row, float* fraction,
            std::size_t stride) {
  for (std::size_t c = 0; c < count; ++c) {
    const Column& column = columns[c];
    each(column, raw, features, index, n, [&](std::size_t first, const Found& found) {
      const IntVec known = found.value == found.value;
      const Vec place = (known ? found.scaled : column.missing + Vec{}) * bins;
      const IntVec whole = __builtin_convertvector(place, IntVec);  // places are 0 or more
      const IntVec from = column.rows ? gather(column.rows, found.knot) : column.row + IntVec{};
      const std::size_t to = c * stride + first;
      *reinterpret_cast<IntVec*>(row + to) = (known ? from : column.missing_row + IntVec{}) + whole;
      store(fraction + to, place - __builtin_convertvector(whole, Vec));
    });
  }
}

}  // namespace

void fill_scale_kernels(Kernels& kernels) {
  kernels.scale = scale;
  kernels.locate = locate;
}

}  // namespace etcc::ETCC_ISA
