// Rows of a flows CSV: where each lies in its bytes, and the needed cells as float32.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.hpp"
#include "rows/relations.hpp"

namespace etcc {

// What became of a data row. Only `ok` rows are classified.
enum class RowStatus : std::uint8_t {
  ok = 0,
  short_row = 1,
  long_row = 2,
  not_a_number = 3,
  stray_quote = 4,
  contradiction = 5,
};

struct RowLayout {
  std::size_t width = 0;              // cells of the header
  std::vector<NumberColumn> numbers;  // the features in their order, then what relations need besides
  std::size_t features = 0;           // how many of the numbers are features
  std::vector<Relation> relations;    // between places among the numbers
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
  std::vector<float> features;  // rows × features; NaN: the cell holds no finite number
  std::vector<ByteSpan> spans;  // the row without its line end; a long row ends after `width` cells
  std::vector<ByteSpan> texts;  // rows × texts, quotes included
  std::vector<RowStatus> status;
  std::vector<std::int32_t> cells;  // before any cut
  std::vector<std::int32_t> fault;  // first feature that is no number, or first broken relation; else -1
  std::vector<std::int64_t> line;   // 1-based line of the file
  std::int64_t missing = 0;         // rows of status ok with at least one NaN
  std::int64_t blank_lines = 0;
  std::int64_t repeated_headers = 0;
  std::int64_t lines = 0;    // in `consumed`
  std::size_t consumed = 0;  // bytes that belong to complete rows

  std::size_t size() const { return spans.size(); }
};

// A row that cannot be delimited; the text names its line and the remedy.
class UnreadableRow : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Lines {
  std::size_t count;  // of complete lines
  std::size_t end;    // of the last of them
  bool quotes;        // somewhere in the bytes; without, each line can be parsed apart
};
Lines find_lines(std::span<const char> bytes);

class RowParser {
 public:
  // Rows are the same on all instruction sets' kernels.
  explicit RowParser(RowLayout layout, const Kernels& kernels = etcc::kernels(""));

  // Parses the complete rows of `bytes`, `max_rows` at most; with `last`, the end of the bytes ends a row too. What
  // lies after `consumed` must come again at the start of the next call, whose `first_line` is higher by `lines`. A
  // quoted cell that has text after its closing quote, or whose row does not end within `max_row_bytes`, makes its
  // first line a row of its own. Throws UnreadableRow for a line longer than `max_row_bytes`.
  //
  // Several threads may call it at once.
  Rows parse(std::span<const char> bytes, bool last, std::int64_t first_line) const;

  const RowLayout& layout() const { return layout_; }

  static constexpr std::size_t max_row_bytes = std::size_t{1} << 20;
  static constexpr std::size_t max_rows = std::size_t{1} << 14;

 private:
  struct Row {
    std::string_view text;  // without its line end
    const char* next;       // what follows it
    std::size_t cells;
    std::int64_t lines;
    bool stray_quote;
  };

  bool delimit_quoted(std::span<const char> bytes, bool last, Row& row, std::vector<std::uint32_t>& starts) const;
  void append(Rows& rows, std::span<const char> bytes, const Row& row, std::span<const std::uint32_t> starts,
              std::vector<std::uint32_t>& others) const;

  std::int32_t broken_relation(const float* numbers) const;

  RowLayout layout_;
  std::vector<std::array<std::uint32_t, 3>> orders_;  // columns of the relations of order
  const Kernels& kernels_;
};

}  // namespace etcc
