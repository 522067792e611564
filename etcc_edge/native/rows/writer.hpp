// Labelled rows: the input's bytes, then the label cells.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rows/reader.hpp"

namespace etcc {

struct LabelColumns {
  // names[level][code] is a CSV-ready cell; a negative code writes an empty cell and an empty confidence.
  std::vector<std::vector<std::string>> names;
};

struct RowFormat {
  std::size_t width = 0;     // a row with fewer cells is padded with empty ones
  bool keep_columns = true;  // false: only the label cells
  std::string line_end = "\n";
};

// One line a row. `codes` and `confidence` are levels × rows, level after level; a confidence between 0 and 1 is
// written with four decimals, NaN as an empty cell. `known` has a cell a row: 1, 0, or a negative number for an
// empty one; or it is empty, and there is no such column.
std::string format_rows(std::span<const char> bytes, std::span<const ByteSpan> spans,
                        std::span<const std::int32_t> cells, std::span<const std::int32_t> codes,
                        std::span<const float> confidence, std::span<const std::int8_t> known,
                        const LabelColumns& labels, const RowFormat& format);

}  // namespace etcc
