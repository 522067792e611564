// Raw values to scaled ones. Compiled without contraction to fused multiply-add, like scaler.cpp: a scaled value
// is the same on every CPU.
#include "kernels/isa.hpp"
#include "kernels/simd.hpp"

namespace etcc::ETCC_ISA {
namespace {

constexpr std::size_t together = lanes >= 16 ? 2 : 4;  // vectors searched side by side, to hide each other's waits
constexpr std::size_t batch = together * lanes;

constexpr std::size_t few = 4;  // rows for which single searches, column after column, are done sooner

// The last knot at or below the value, 0 for NaN; without a branch that could be guessed wrongly.
inline std::int32_t search(const Column& column, float value) {
  std::int32_t knot = 0;
  for (auto left = static_cast<std::int32_t>(column.count); left > 1;) {
    const std::int32_t half = left / 2;
    knot += half & -static_cast<std::int32_t>(column.x[half + knot] <= value);
    left -= half;
  }
  return knot;
}

struct Found {
  Vec value;  // as it came
  Vec scaled;
  IntVec knot;
};

// Calls one(row, value, scaled, knot) for every row of a column where they are few, and else
// many(first row, Found) for every vector of rows, of which the last may reach beyond n.
template <class One, class Many>
inline void each(const Column& column, const float* raw, std::size_t features, const std::int64_t* index, std::size_t n,
                 One one, Many many) {
  const float low = column.x[0];
  const float high = column.x[column.count - 1];
  const float* source = raw + column.source;
  if (n <= few) {
    for (std::size_t i = 0; i < n; ++i) {
      const float value = source[static_cast<std::size_t>(index[i]) * features];
      const float above = value < low ? low : value;
      const float inside = above > high ? high : above;
      const std::int32_t knot = search(column, inside);
      one(i, value, column.y[knot] + (inside - column.x[knot]) * column.slope[knot], knot);
    }
    return;
  }
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
      many(start + v * lanes, Found{load(values + v * lanes), scaled, knot[v]});
    }
  }
}

void scale(const Column* columns, std::size_t count, const float* raw, std::size_t features, const std::int64_t* index,
           std::size_t n, float* out) {
  for (std::size_t c = 0; c < count; ++c) {
    const Column& column = columns[c];
    const auto one = [&](std::size_t i, float value, float scaled, std::int32_t knot) {
      const float cap = column.y[knot + 1];
      const float capped = scaled < cap ? scaled : cap;
      out[i * count + c] = value == value ? capped : column.missing;
    };
    each(column, raw, features, index, n, one, [&](std::size_t first, const Found& found) {
      const Vec cap = gather(column.y + 1, found.knot);
      const Vec capped = found.scaled < cap ? found.scaled : cap;
      float scaled[lanes];
      store(scaled, found.value == found.value ? capped : column.missing + Vec{});
      float* to = out + first * count + c;
      const std::size_t rows = n - first < lanes ? n - first : lanes;
      for (std::size_t l = 0; l < rows; ++l) to[l * count] = scaled[l];
    });
  }
}

void locate(const Column* columns, std::size_t count, const float* raw, std::size_t features, const std::int64_t* index,
            std::size_t n, float bins, std::int32_t* row, float* fraction, std::size_t stride) {
  for (std::size_t c = 0; c < count; ++c) {
    const Column& column = columns[c];
    const auto one = [&](std::size_t i, float value, float scaled, std::int32_t knot) {
      const bool known = value == value;
      const float place = (known ? scaled : column.missing) * bins;
      const auto whole = static_cast<std::int32_t>(place);  // places are 0 or more
      const std::int32_t from = column.rows ? column.rows[knot] : column.row;
      row[c * stride + i] = (known ? from : column.missing_row) + whole;
      fraction[c * stride + i] = place - static_cast<float>(whole);
    };
    each(column, raw, features, index, n, one, [&](std::size_t first, const Found& found) {
      const IntVec known = found.value == found.value;
      const Vec place = (known ? found.scaled : column.missing + Vec{}) * bins;
      const IntVec whole = __builtin_convertvector(place, IntVec);
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
