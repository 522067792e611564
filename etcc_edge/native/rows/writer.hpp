// Labelled rows: the input's bytes, all of them or chosen cells, then the label cells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rows/reader.hpp"

namespace etcc {

// Rows of `bytes` and what they are labelled. All columns but `bytes`, and an empty `known`, have an entry a row.
struct LabelledRows {
  std::span<const char> bytes;
  std::span<const ByteSpan> spans;
  std::span<const std::int32_t> cells;  // before any cut
  std::span<const std::int32_t> codes;  // [levels][rows], a place in the level's names; negative: empty cells
  std::span<const float> confidence;    // [levels][rows], 0 to 1; NaN: an empty cell
  std::span<const std::int8_t> known;   // 1, 0, or a negative number for an empty cell; empty: no such column
  std::span<const ByteSpan> chosen;     // [rows][RowFormat::chosen], the cells to keep where not all are

  std::size_t size() const { return spans.size(); }

  // Throws std::invalid_argument where the columns differ in length.
  void check(std::size_t levels, std::size_t chosen_cells) const;
};

struct RowFormat {
  std::vector<std::vector<std::string>> names;  // names[level][code] is a CSV-ready cell
  std::size_t width = 0;                        // a row with fewer cells is padded with empty ones
  bool keep_columns = true;                     // false: only the chosen cells and the label cells
  std::size_t chosen = 0;                       // cells of a row
  std::string line_end = "\n";
};

// One line a row: its own cells; of each level the name and the confidence, with four decimals; `known`. Throws
// std::invalid_argument for a confidence beyond 0 to 1 and where columns differ in length, std::out_of_range for a row
// or cell outside the bytes or a code without a name.
std::string format_rows(const LabelledRows& rows, const RowFormat& format);

}  // namespace etcc
