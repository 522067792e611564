// The numbers of a table, column by column, as rows of float32, checked as the rows of a text file are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rows/reader.hpp"
#include "rows/relations.hpp"

namespace etcc {

enum class NumberType : std::uint8_t { f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 };

// One column. A row has no value where its bit of `validity` is 0, and no number where `wrong` is not 0.
struct NumberCells {
  NumberType type = NumberType::f32;
  const void* values = nullptr;
  std::ptrdiff_t stride = 0;               // bytes from a row to the next
  const std::uint8_t* validity = nullptr;  // the least significant bit first; nullptr: every row has a value
  std::size_t offset = 0;                  // of the first row, in bits of `validity`
  const std::uint8_t* wrong = nullptr;     // nullptr: every value is a number
  double factor = 1;                       // what brings a value but -1 (none) to its canonical unit
};

// Where the rows go, n of them, as `Rows` has them.
struct TableRows {
  std::span<float> features;  // rows × features
  std::span<RowStatus> status;
  std::span<std::int32_t> fault;
};

// Rows of the first `features` columns; the others serve relations alone. Returns how many rows of status ok lack a
// value. Throws std::invalid_argument where `rows` do not fit.
std::int64_t read_columns(std::span<const NumberCells> columns, std::size_t features,
                          std::span<const Relation> relations, const TableRows& rows);

// Numbers in cells of text that lie one after the other: `ends` has the begin of the first, then each one's end. NaN
// for a cell that is empty; `wrong` is 1 for one that is no number. Throws std::invalid_argument where sizes differ or
// a cell lies outside the text.
void parse_cells(std::span<const char> text, std::span<const std::int64_t> ends, std::span<double> numbers,
                 std::span<std::uint8_t> wrong);

// Cells of text one after the other, without quotes and surrounding blanks.
struct TextCells {
  std::string text;
  std::vector<std::int64_t> ends;  // the begin of the first, then each one's end
};

// The cell `place` of rows that have `width` cells each. Throws std::out_of_range for a cell outside the bytes.
TextCells gather_cells(std::span<const char> bytes, std::span<const ByteSpan> cells, std::size_t width,
                       std::size_t place);

}  // namespace etcc
