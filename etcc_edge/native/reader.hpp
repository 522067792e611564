// Rows of a flows CSV: where each lies in its bytes, and the needed cells as float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace etcc {

// What became of a data row. Only `ok` rows are classified.
enum class RowStatus : std::uint8_t { ok = 0, short_row = 1, long_row = 2, not_a_number = 3, stray_quote = 4 };

struct NumberColumn {
  std::size_t index;  // of the cell in its row
  double factor;      // to the canonical unit
};

struct RowLayout {
  std::size_t width = 0;              // cells of the header
  std::vector<NumberColumn> numbers;  // in the order of the features
  std::vector<std::size_t> texts;     // cells whose place is wanted as well
  std::string header;                 // a line with these bytes is a repeated header
  char comment = '\0';                // a line that starts with it is skipped; NUL: none
};

struct ByteSpan {
  std::int64_t begin;
  std::int64_t end;
};

// Columns of equal length, one entry a data row. Offsets are relative to the parsed bytes.
struct Rows {
  std::vector<float> features;  // rows × numbers; NaN: the cell holds no finite number
  std::vector<ByteSpan> spans;  // the row without its line end; a long row ends after `width` cells
  std::vector<ByteSpan> texts;  // rows × texts, quotes included
  std::vector<RowStatus> status;
  std::vector<std::int32_t> cells;         // before any cut
  std::vector<std::int32_t> bad_feature;   // first number column that is not a number, or -1
  std::vector<std::int64_t> line;          // 1-based line of the file
  std::int64_t missing = 0;                // rows of status ok with at least one NaN
  std::int64_t blank_lines = 0;
  std::int64_t repeated_headers = 0;
  std::size_t consumed = 0;  // bytes that belong to complete rows

  std::size_t size() const { return spans.size(); }
};

// A row that cannot be delimited; the text names its line and the remedy.
class UnreadableRow : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A number cell by the reader's rule. Surrounding blanks, one plus sign and one pair of quotes are dropped;
// empty, "?", NaN, infinities and what exceeds float32 give NaN; anything else that is not a whole decimal
// number gives false. The value is parsed as double, multiplied by `factor` and rounded to float32.
bool parse_number(std::span<const char> cell, double factor, float& value);

class RowParser {
 public:
  // `first_line` is the line number of the first byte that will be parsed.
  RowParser(RowLayout layout, std::int64_t first_line);

  // Parses the complete rows of `bytes`, `max_rows` at most; with `last`, the end of the bytes ends a row too. What lies after
  // `consumed` must come again at the start of the next call. A quoted cell that does not
  // close within `max_row_bytes`, or has text after its closing quote, makes its first line a row of its own.
  // Throws UnreadableRow for a line longer than `max_row_bytes`.
  Rows parse(std::span<const char> bytes, bool last);

  static constexpr std::size_t max_row_bytes = std::size_t{1} << 20;
  static constexpr std::size_t max_rows = std::size_t{1} << 14;

 private:
  RowLayout layout_;
  std::vector<std::int32_t> number_of_cell_;  // cell index -> position in layout_.numbers, or -1
  std::vector<std::int32_t> text_of_cell_;
  std::int64_t line_;
};

}  // namespace etcc
