// Raw values to scaled ones. Compiled without contraction to fused multiply-add, like scaler.cpp: a scaled value
// is the same on every CPU.
#include "kernels/isa.hpp"
#include "kernels/simd.hpp"

namespace etcc::ETCC_ISA {
namespace {

constexpr std::size_t vectors_per_search = lanes >= 16 ? 2 : 4;  // side by side, to hide each other's waits
constexpr std::size_t rows_per_search = vectors_per_search * lanes;

constexpr std::size_t max_single_searches = 4;  // rows for which they, column after column, are done sooner

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

// NaN where it is not finite. `T` is float or Vec.
template <class T>
inline T joined(Operation operation, T first, T second) {
  const T value = operation == Operation::multiply ? first * second
                  : operation == Operation::divide ? first / second
                                                   : first - second;
  return value - value == T{} ? value : __builtin_nanf("") + T{};
}

// A column of some rows.
struct Values {
  Vec raw;
  Vec scaled;
  IntVec knot;
};

// Calls one(row, value, scaled, knot) for every row of a column where they are few, and else
// many(first row, Values) for every vector of rows, of which the last may reach beyond n.
template <class One, class Many>
inline void each(const Column& column, const float* raw, std::size_t features, const std::int64_t* index, std::size_t n,
                 One one, Many many) {
  const float low = column.x[0];
  const float high = column.x[column.count - 1];
  const auto [operation, first_feature, second_feature] = column.reads;
  const float* source = raw + first_feature;
  const float* second = raw + second_feature;
  if (n <= max_single_searches) {
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t row = static_cast<std::size_t>(index[i]) * features;
      const float value = operation == Operation::none ? source[row] : joined(operation, source[row], second[row]);
      const float above = value < low ? low : value;
      const float inside = above > high ? high : above;
      const std::int32_t knot = search(column, inside);
      one(i, value, column.y[knot] + (inside - column.x[knot]) * column.slope[knot], knot);
    }
    return;
  }
  for (std::size_t start = 0; start < n; start += rows_per_search) {
    const std::size_t count = n - start < rows_per_search ? n - start : rows_per_search;
    float raw_values[rows_per_search];
    for (std::size_t i = 0; i < count; ++i)
      raw_values[i] = source[static_cast<std::size_t>(index[start + i]) * features];
    if (operation != Operation::none) {
      float others[rows_per_search];
      for (std::size_t i = 0; i < count; ++i) others[i] = second[static_cast<std::size_t>(index[start + i]) * features];
      for (std::size_t i = count; i < rows_per_search; ++i) raw_values[i] = others[i] = 1.0F;
      for (std::size_t v = 0; v < rows_per_search; v += lanes)
        store(raw_values + v, joined(operation, load(raw_values + v), load(others + v)));
    }
    for (std::size_t i = count; i < rows_per_search; ++i) raw_values[i] = low;
    const std::size_t vectors = (count + lanes - 1) / lanes;
    Vec inside[vectors_per_search];  // NaN stays, and ends at knot 0
    IntVec knot[vectors_per_search] = {};
    for (std::size_t v = 0; v < vectors_per_search; ++v) {
      const Vec value = load(raw_values + v * lanes);
      const Vec above = value < low ? low + Vec{} : value;
      inside[v] = above > high ? high + Vec{} : above;
    }
    for (std::size_t left = column.count; left > 1;) {
      const auto half = static_cast<std::int32_t>(left / 2);
      const float* middle = column.x + half;
      for (std::size_t v = 0; v < vectors_per_search; ++v) knot[v] += (gather(middle, knot[v]) <= inside[v]) & half;
      left -= static_cast<std::size_t>(half);
    }
    for (std::size_t v = 0; v < vectors; ++v) {
      const Vec from = gather(column.x, knot[v]);
      const Vec scaled = gather(column.y, knot[v]) + (inside[v] - from) * gather(column.slope, knot[v]);
      many(start + v * lanes, Values{.raw = load(raw_values + v * lanes), .scaled = scaled, .knot = knot[v]});
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
      out[i * count + c] = is_nan(value) ? column.missing : capped;
    };
    each(column, raw, features, index, n, one, [&](std::size_t first, const Values& values) {
      const Vec cap = gather(column.y + 1, values.knot);
      const Vec capped = values.scaled < cap ? values.scaled : cap;
      float scaled[lanes];
      store(scaled, is_nan(values.raw) ? column.missing + Vec{} : capped);
      float* to = out + first * count + c;
      const std::size_t rows = n - first < lanes ? n - first : lanes;
      for (std::size_t l = 0; l < rows; ++l) to[l * count] = scaled[l];
    });
  }
}

void locate(const Column* columns, std::size_t count, const float* raw, std::size_t features, const std::int64_t* index,
            std::size_t n, float bins, std::int32_t* table_row, float* fraction, std::size_t stride) {
  for (std::size_t c = 0; c < count; ++c) {
    const Column& column = columns[c];
    const auto one = [&](std::size_t i, float value, float scaled, std::int32_t knot) {
      const bool missing = is_nan(value);
      const float place = (missing ? column.missing : scaled) * bins;
      const auto whole = static_cast<std::int32_t>(place);  // places are 0 or more
      const std::int32_t from = column.table_rows ? column.table_rows[knot] : column.table_row;
      table_row[c * stride + i] = (missing ? column.missing_row : from) + whole;
      fraction[c * stride + i] = place - static_cast<float>(whole);
    };
    each(column, raw, features, index, n, one, [&](std::size_t first, const Values& values) {
      const IntVec missing = is_nan(values.raw);
      const Vec place = (missing ? column.missing + Vec{} : values.scaled) * bins;
      const IntVec whole = __builtin_convertvector(place, IntVec);
      const IntVec from = column.table_rows ? gather(column.table_rows, values.knot) : column.table_row + IntVec{};
      const std::size_t to = c * stride + first;
      *reinterpret_cast<IntVec*>(table_row + to) = (missing ? column.missing_row + IntVec{} : from) + whole;
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
