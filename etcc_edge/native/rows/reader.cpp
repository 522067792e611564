#include "rows/reader.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "rows/number.hpp"
#include "rows/text.hpp"

namespace etcc {
namespace {

constexpr float no_value = std::numeric_limits<float>::quiet_NaN();

std::string_view without_line_end(std::string_view text) {
  while (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

// A file joined to another one may begin with a byte order mark.
std::string_view without_mark(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return text;
}

const char* find(const char* begin, const char* end, char wanted) {
  if (begin == end) return nullptr;
  return static_cast<const char*>(std::memchr(begin, wanted, static_cast<std::size_t>(end - begin)));
}

// One past the closing quote of the quoted cell that opens at `at`, or nullptr if it does not close.
const char* after_quotes(const char* at, const char* end) {
  for (++at; at < end; at += 2) {  // a doubled quote stands for one
    at = find(at, end, '"');
    if (at == nullptr) return nullptr;
    if (at + 1 == end || at[1] != '"') return at + 1;
  }
  return nullptr;
}

}  // namespace

Lines find_lines(std::span<const char> bytes) {
  const char* const end = bytes.data() + bytes.size();
  const char* at = bytes.data();
  std::size_t count = 0;
  while (const char* newline = find(at, end, '\n')) {
    at = newline + 1;
    ++count;
  }
  return {.count = count,
          .end = static_cast<std::size_t>(at - bytes.data()),
          .quotes = find(bytes.data(), end, '"') != nullptr};
}

RowParser::RowParser(RowLayout layout, const Kernels& kernels) : layout_(std::move(layout)), kernels_(kernels) {
  std::vector<bool> seen(layout_.width);
  const auto check = [&seen](std::size_t cell) {
    if (cell >= seen.size()) throw std::invalid_argument("column index beyond the header");
    if (seen[cell]) throw std::invalid_argument("column index given twice");
    seen[cell] = true;
  };
  for (const NumberColumn& number : layout_.numbers) check(number.index);
  seen.assign(layout_.width, false);
  for (const std::size_t text : layout_.texts) check(text);
  if (layout_.features > layout_.numbers.size()) throw std::invalid_argument("more features than numbers");
  for (const Relation& relation : layout_.relations) {
    for (const std::uint32_t column : relation.columns) {
      if (column >= layout_.numbers.size()) throw std::invalid_argument("a relation names a number beyond the others");
    }
    if (relation.kind == Relation::Kind::order) {
      orders_.push_back({relation.columns[0], relation.columns[1], relation.columns[2]});
    }
  }
}

Rows RowParser::parse(std::span<const char> bytes, bool last, std::int64_t first_line) const {
  const char* const end = bytes.data() + bytes.size();
  const std::string_view header = trimmed(layout_.header);
  Rows rows;
  if (const char* newline = find(bytes.data(), end, '\n')) {
    const auto first = static_cast<std::size_t>(newline - bytes.data()) + 1;
    const std::size_t count = std::min(max_rows, bytes.size() / first * 5 / 4 + 1);
    rows.features.reserve(count * layout_.features + layout_.numbers.size());
  }
  std::vector<std::uint32_t> starts, others;
  const char* at = bytes.data();
  while (at < end && rows.size() < max_rows) {
    const char* newline = find(at, end, '\n');
    const std::string_view line(at, static_cast<std::size_t>((newline != nullptr ? newline : end) - at));
    if (line.size() > max_row_bytes) {
      throw UnreadableRow("line " + std::to_string(first_line + rows.lines) +
                          " is longer than 1 MiB; this is no flows CSV");
    }
    if (newline == nullptr && !last) break;
    Row row{.text = without_line_end(line),
            .next = newline != nullptr ? newline + 1 : end,
            .cells = 0,
            .lines = 1,
            .stray_quote = false};
    const std::string_view text = trimmed(line);
    const bool is_header = !header.empty() && without_mark(text) == header;
    if (text.empty() || is_header || (layout_.comment != '\0' && text.front() == layout_.comment)) {
      ++(is_header ? rows.repeated_headers : rows.blank_lines);
    } else {
      if (line.find('"') == std::string_view::npos) {
        starts.resize(layout_.width + cell_slack);
        row.cells = kernels_.find_cells(row.text.data(), row.text.size(), end, layout_.width, starts.data());
      } else if (!delimit_quoted({at, end}, last, row, starts)) {
        break;
      }
      rows.line.push_back(first_line + rows.lines);
      append(rows, bytes, row, starts, others);
    }
    at = row.next;
    rows.lines += row.lines;
    rows.consumed = static_cast<std::size_t>(at - bytes.data());
  }
  return rows;
}

// The row at the start of `bytes`, whose first line is in `row` and holds a quote. False where its end is yet to come.
bool RowParser::delimit_quoted(std::span<const char> bytes, bool last, Row& row,
                               std::vector<std::uint32_t>& starts) const {
  const char* const begin = bytes.data();
  const char* const end = begin + std::min(bytes.size(), max_row_bytes);
  const bool may_go_on = end == begin + bytes.size() && !last;
  starts.assign(1, 0);
  std::int64_t lines = 1;
  const char* cell = begin;
  for (;;) {
    const char* stop = cell;
    if (cell < end && *cell == '"') {
      stop = after_quotes(cell, end);
      // A quote that ends the bytes may be the first of a doubled one.
      if ((stop == nullptr || stop == end) && may_go_on) return false;
      if (stop == nullptr) break;
      lines += std::count(cell, stop, '\n');
      while (stop < end && is_blank(*stop)) ++stop;
      if (stop < end && *stop != ',' && *stop != '\n') break;
    }
    while (stop < end && *stop != ',' && *stop != '\n') ++stop;
    if (stop == end && may_go_on) return false;
    if (stop == end && end < begin + bytes.size()) break;
    starts.push_back(static_cast<std::uint32_t>(stop + 1 - begin));
    if (stop == end || *stop == '\n') {
      row.text = without_line_end({begin, static_cast<std::size_t>(stop - begin)});
      starts.back() = static_cast<std::uint32_t>(row.text.size()) + 1;
      row.next = std::min(stop + 1, end);
      row.cells = starts.size() - 1;
      row.lines = lines;
      return true;
    }
    cell = stop + 1;
  }
  // The first line alone: what a stray quote would swallow are other rows.
  row.stray_quote = true;
  row.cells = layout_.width;
  return true;
}

// The first relation that is broken, or -1. Nearly always all orders hold to the letter, which is quickly seen.
std::int32_t RowParser::broken_relation(const float* numbers) const {
  bool hold = true;
  for (const auto& [least, mean, most] : orders_) {
    hold &= (numbers[least] <= numbers[mean]) & (numbers[mean] <= numbers[most]);
  }
  for (std::size_t i = 0; i < layout_.relations.size(); ++i) {
    const Relation& relation = layout_.relations[i];
    if (hold && relation.kind == Relation::Kind::order) continue;
    if (relation.broken(numbers)) return static_cast<std::int32_t>(i);
  }
  return -1;
}

void RowParser::append(Rows& rows, std::span<const char> bytes, const Row& row, std::span<const std::uint32_t> starts,
                       std::vector<std::uint32_t>& others) const {
  const std::int64_t begin = row.text.data() - bytes.data();
  const std::size_t readable = row.stray_quote ? 0 : row.cells;
  const auto cell = [&](std::size_t i) { return row.text.substr(starts[i], starts[i + 1] - starts[i] - 1); };

  const std::size_t count = layout_.numbers.size();
  const std::size_t features = rows.features.size() + layout_.features;
  rows.features.resize(features - layout_.features + count, no_value);
  const auto numbers = std::span(rows.features).last(count);
  others.resize(count + 1);
  std::size_t other_count = count;
  if (row.cells == layout_.width && !row.stray_quote) {
    other_count = kernels_.read_numbers(row.text.data(), starts.data(), layout_.numbers.data(), count,
                                        bytes.data() + bytes.size(), numbers.data(), others.data());
  } else {
    std::iota(others.begin(), others.end(), 0U);
  }
  std::int32_t fault = -1;
  bool missing = false;
  for (const std::uint32_t i : std::span(others).first(other_count)) {
    const auto [index, factor] = layout_.numbers[i];
    const bool is_number = index >= readable || parse_number(cell(index), factor, numbers[i]);
    if (i >= layout_.features) continue;  // a relation alone needs it, and without it is not checked
    if (!is_number && fault < 0) fault = static_cast<std::int32_t>(i);
    missing |= std::isnan(numbers[i]);
  }
  for (const std::size_t index : layout_.texts) {
    const std::string_view text = index < readable ? cell(index) : row.text.substr(0, 0);
    rows.texts.push_back({text.data() - bytes.data(), text.data() + text.size() - bytes.data()});
  }

  RowStatus status = RowStatus::ok;
  if (row.stray_quote) {
    status = RowStatus::stray_quote;
  } else if (row.cells < layout_.width) {
    status = RowStatus::short_row;
  } else if (row.cells > layout_.width) {
    status = RowStatus::long_row;
  } else if (fault >= 0) {
    status = RowStatus::not_a_number;
  } else {
    fault = broken_relation(numbers.data());
    if (fault >= 0) status = RowStatus::contradiction;
  }
  rows.features.resize(features);
  if (status == RowStatus::ok && missing) ++rows.missing;
  const std::size_t kept = status == RowStatus::long_row ? starts[layout_.width] - 1 : row.text.size();
  rows.spans.push_back({begin, begin + static_cast<std::int64_t>(kept)});
  rows.status.push_back(status);
  rows.cells.push_back(static_cast<std::int32_t>(row.cells));
  rows.fault.push_back(fault);
}

}  // namespace etcc
