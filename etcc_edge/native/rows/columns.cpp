#include "rows/columns.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "rows/number.hpp"
#include "rows/text.hpp"

namespace etcc {
namespace {

constexpr float no_value = std::numeric_limits<float>::quiet_NaN();
constexpr std::size_t block_rows = 64;  // of all columns, which then lie in the first cache

template <class T>
float number(T value, double factor) {
  const auto exact = static_cast<double>(value);
  const auto rounded = static_cast<float>(exact == -1 ? exact : exact * factor);
  return std::isfinite(rounded) ? rounded : no_value;
}

template <class T>
void load(const NumberCells& cells, std::size_t first, std::size_t count, float* out) {
  const auto* at = static_cast<const char*>(cells.values) + static_cast<std::ptrdiff_t>(first) * cells.stride;
  const double factor = cells.factor;
  if (cells.stride == sizeof(T)) {
    std::array<T, block_rows> values;
    std::memcpy(values.data(), at, count * sizeof(T));  // which may lie anywhere
    for (std::size_t i = 0; i < count; ++i) out[i] = number(values[i], factor);
    return;
  }
  for (std::size_t i = 0; i < count; ++i, at += cells.stride) {
    T value;
    std::memcpy(&value, at, sizeof(T));
    out[i] = number(value, factor);
  }
}

void load(const NumberCells& cells, std::size_t first, std::size_t count, float* out) {
  switch (cells.type) {
    case NumberType::f32: load<float>(cells, first, count, out); break;
    case NumberType::f64: load<double>(cells, first, count, out); break;
    case NumberType::i8: load<std::int8_t>(cells, first, count, out); break;
    case NumberType::i16: load<std::int16_t>(cells, first, count, out); break;
    case NumberType::i32: load<std::int32_t>(cells, first, count, out); break;
    case NumberType::i64: load<std::int64_t>(cells, first, count, out); break;
    case NumberType::u8: load<std::uint8_t>(cells, first, count, out); break;
    case NumberType::u16: load<std::uint16_t>(cells, first, count, out); break;
    case NumberType::u32: load<std::uint32_t>(cells, first, count, out); break;
    case NumberType::u64: load<std::uint64_t>(cells, first, count, out); break;
  }
  if (cells.validity == nullptr) return;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t bit = cells.offset + first + i;
    if ((cells.validity[bit / 8] >> (bit % 8) & 1) == 0) out[i] = no_value;
  }
}

}  // namespace

std::int64_t read_columns(std::span<const NumberCells> columns, std::size_t features,
                          std::span<const Relation> relations, const TableRows& rows) {
  const std::size_t n = rows.status.size();
  if (features > columns.size() || rows.features.size() != n * features || rows.fault.size() != n) {
    throw std::invalid_argument("features, status and fault differ in rows");
  }
  for (const Relation& relation : relations) {
    for (const std::uint32_t column : relation.columns) {
      if (column >= columns.size()) throw std::invalid_argument("a relation names a column beyond the others");
    }
  }
  std::int64_t lacking = 0;
  std::vector<float> block(columns.size() * block_rows, no_value);
  const auto column = [&](std::size_t c) { return block.data() + c * block_rows; };
  for (std::size_t first = 0; first < n; first += block_rows) {
    const std::size_t count = std::min(block_rows, n - first);
    std::array<std::int32_t, block_rows> broken;
    std::array<std::int32_t, block_rows> wrong;
    std::array<std::int32_t, block_rows> missing{};
    broken.fill(-1);
    wrong.fill(-1);
    for (std::size_t c = 0; c < columns.size(); ++c) load(columns[c], first, count, column(c));
    for (std::size_t r = relations.size(); r-- > 0;) {
      const Relation& relation = relations[r];
      const auto [a, b, c, d] = relation.columns;
      const float *as = column(a), *bs = column(b), *cs = column(c), *ds = column(d);
      for (std::size_t i = 0; i < block_rows; ++i) {
        broken[i] = relation.broken(as[i], bs[i], cs[i], ds[i]) ? static_cast<std::int32_t>(r) : broken[i];
      }
    }
    for (std::size_t f = features; f-- > 0;) {
      const float* values = column(f);
      float* out = rows.features.data() + first * features + f;
      for (std::size_t i = 0; i < count; ++i) out[i * features] = values[i];
      for (std::size_t i = 0; i < block_rows; ++i) missing[i] |= static_cast<std::int32_t>(std::isnan(values[i]));
      if (columns[f].wrong == nullptr) continue;
      for (std::size_t i = 0; i < count; ++i) {
        if (columns[f].wrong[first + i] != 0) wrong[i] = static_cast<std::int32_t>(f);
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      const bool is_wrong = wrong[i] >= 0;
      rows.fault[first + i] = is_wrong ? wrong[i] : broken[i];
      rows.status[first + i] = is_wrong         ? RowStatus::not_a_number
                               : broken[i] >= 0 ? RowStatus::contradiction
                                                : RowStatus::ok;
      lacking += static_cast<std::int64_t>(!is_wrong && broken[i] < 0 && missing[i] != 0);
    }
  }
  return lacking;
}

void parse_cells(std::span<const char> text, std::span<const std::int64_t> ends, std::span<double> numbers,
                 std::span<std::uint8_t> wrong) {
  if (ends.size() != numbers.size() + 1 || wrong.size() != numbers.size()) {
    throw std::invalid_argument("ends are one more than the cells");
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::int64_t begin = ends[i];
    const std::int64_t end = ends[i + 1];
    if (begin < 0 || end < begin || static_cast<std::size_t>(end) > text.size()) {
      throw std::invalid_argument("a cell outside the text");
    }
    const std::string_view cell(text.data() + begin, static_cast<std::size_t>(end - begin));
    wrong[i] = parse_number(cell, numbers[i]) ? 0 : 1;
  }
}

TextCells gather_cells(std::span<const char> bytes, std::span<const ByteSpan> cells, std::size_t width,
                       std::size_t place) {
  TextCells out;
  out.ends.reserve(cells.size() / width + 1);
  out.ends.push_back(0);
  for (std::size_t i = place; i < cells.size(); i += width) {
    const auto [begin, end] = cells[i];
    if (begin < 0 || end < begin || static_cast<std::size_t>(end) > bytes.size()) {
      throw std::out_of_range("cell outside the bytes");
    }
    std::string_view cell = trimmed({bytes.data() + begin, static_cast<std::size_t>(end - begin)});
    if (cell.size() >= 2 && cell.front() == '"' && cell.back() == '"') {
      cell = cell.substr(1, cell.size() - 2);
      for (std::size_t at = cell.find("\"\""); at != std::string_view::npos; at = cell.find("\"\"")) {
        out.text.append(cell.substr(0, at + 1));
        cell.remove_prefix(at + 2);
      }
    }
    out.text.append(cell);
    out.ends.push_back(static_cast<std::int64_t>(out.text.size()));
  }
  return out;
}

}  // namespace etcc
