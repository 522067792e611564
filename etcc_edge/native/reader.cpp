#include "reader.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>

namespace etcc {
namespace {

constexpr float kNoValue = std::numeric_limits<float>::quiet_NaN();

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// One past the closing quote of the quoted cell that opens at `at`, or nullptr if it does not close.
const char* after_quotes(const char* at, const char* end) {
  for (++at; at < end; ++at) {
    at = static_cast<const char*>(std::memchr(at, '"', static_cast<std::size_t>(end - at)));
    if (at == nullptr) return nullptr;
    if (at + 1 == end || at[1] != '"') return at + 1;
    ++at;  // a doubled quote stands for one
  }
  return nullptr;
}

}  // namespace

bool parse_number(std::span<const char> cell, double factor, float& value) {
  std::string_view text = trimmed({cell.data(), cell.size()});
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = trimmed(text.substr(1, text.size() - 2));
  }
  value = kNoValue;
  if (text.empty() || text == "?") return true;
  if (text.front() == '+') {
    text.remove_prefix(1);
    if (text.empty() || text.front() == '-') return false;
  }
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, number);
  if (stop != end || failure == std::errc::invalid_argument) return false;
  if (failure == std::errc::result_out_of_range) {
    number = std::strtod(std::string(text).c_str(), nullptr);  // tells too large (infinite) from too small (zero)
  }
  const auto rounded = static_cast<float>(number * factor);
  value = std::isfinite(rounded) ? rounded : kNoValue;
  return true;
}

RowParser::RowParser(RowLayout layout, std::int64_t first_line) : layout_(std::move(layout)), line_(first_line) {
  number_of_cell_.assign(layout_.width, -1);
  text_of_cell_.assign(layout_.width, -1);
  const auto place = [this](std::vector<std::int32_t>& table, std::size_t cell, std::size_t position) {
    if (cell >= layout_.width) throw std::invalid_argument("column index beyond the header");
    if (table[cell] >= 0) throw std::invalid_argument("column index given twice");
    table[cell] = static_cast<std::int32_t>(position);
  };
  for (std::size_t i = 0; i < layout_.numbers.size(); ++i) place(number_of_cell_, layout_.numbers[i].index, i);
  for (std::size_t i = 0; i < layout_.texts.size(); ++i) place(text_of_cell_, layout_.texts[i], i);
}

Rows RowParser::parse(std::span<const char> bytes, bool last) {
  Rows rows;
  const char* const base = bytes.data();
  const char* const end = base + bytes.size();
  const std::size_t n_numbers = layout_.numbers.size();
  const std::size_t n_texts = layout_.texts.size();
  const std::string_view header = trimmed(layout_.header);
  const auto offset = [base](const char* p) { return static_cast<std::int64_t>(p - base); };

  const char* row = base;
  while (row < end && rows.size() < max_rows) {
    const auto* newline = static_cast<const char*>(std::memchr(row, '\n', static_cast<std::size_t>(end - row)));
    if (static_cast<std::size_t>((newline != nullptr ? newline : end) - row) > max_row_bytes) {
      throw UnreadableRow("line " + std::to_string(line_) + " is longer than 1 MiB; this is no flows CSV");
    }
    if (newline == nullptr && !last) break;
    const char* line_end = newline != nullptr ? newline : end;
    const std::string_view line = trimmed({row, static_cast<std::size_t>(line_end - row)});
    const bool is_header = !header.empty() && line == header;
    if (line.empty() || is_header || (layout_.comment != '\0' && line.front() == layout_.comment)) {
      ++(is_header ? rows.repeated_headers : rows.blank_lines);
      row = newline != nullptr ? newline + 1 : end;
      rows.consumed = static_cast<std::size_t>(row - base);
      ++line_;
      continue;
    }

    const std::size_t first_feature = rows.features.size();
    const std::size_t first_text = rows.texts.size();
    rows.features.resize(first_feature + n_numbers, kNoValue);
    rows.texts.resize(first_text + n_texts, ByteSpan{offset(row), offset(row)});
    std::int32_t bad_feature = -1;
    std::int32_t cells = 0;
    std::int64_t lines = 1;
    const char* cell = row;
    const char* kept_end = row;
    bool stray_quote = false;
    bool row_ended = false;
    while (!row_ended) {
      const char* stop = cell;
      if (cell < end && *cell == '"') {
        const char* limit = std::min(end, row + max_row_bytes);
        stop = after_quotes(cell, limit);
        // A quote that ends the bytes may be the first of a doubled one.
        if ((stop == nullptr || stop == end) && limit == end && !last) break;
        stray_quote = stop == nullptr;
        if (!stray_quote) {
          lines += std::count(cell, stop, '\n');
          while (stop < end && is_blank(*stop)) ++stop;
          stray_quote = stop < end && *stop != ',' && *stop != '\n';
        }
        if (stray_quote) break;
      }
      while (stop < end && *stop != ',' && *stop != '\n') ++stop;
      if (stop == end && !last) break;
      row_ended = stop == end || *stop == '\n';
      const char* cell_end = stop;
      while (row_ended && cell_end > cell && cell_end[-1] == '\r') --cell_end;
      const auto index = static_cast<std::size_t>(cells++);
      if (index < layout_.width) {
        kept_end = cell_end;
        if (const std::int32_t i = number_of_cell_[index]; i >= 0) {
          const auto number = static_cast<std::size_t>(i);
          if (!parse_number({cell, cell_end}, layout_.numbers[number].factor, rows.features[first_feature + number]) &&
              (bad_feature < 0 || i < bad_feature)) {
            bad_feature = i;
          }
        }
        if (const std::int32_t i = text_of_cell_[index]; i >= 0) {
          rows.texts[first_text + static_cast<std::size_t>(i)] = {offset(cell), offset(cell_end)};
        }
      }
      cell = stop + 1;
    }
    if (!row_ended && !stray_quote) {
      rows.features.resize(first_feature);
      rows.texts.resize(first_text);
      break;
    }
    if (stray_quote) {
      // Its line alone: what a stray quote would swallow are other rows.
      kept_end = line_end;
      while (kept_end > row && kept_end[-1] == '\r') --kept_end;
      cell = line_end + 1;
      cells = static_cast<std::int32_t>(layout_.width);
      lines = 1;
      bad_feature = -1;
      std::fill(rows.features.begin() + static_cast<std::ptrdiff_t>(first_feature), rows.features.end(), kNoValue);
    }

    RowStatus status = RowStatus::ok;
    if (stray_quote) {
      status = RowStatus::stray_quote;
    } else if (static_cast<std::size_t>(cells) < layout_.width) {
      status = RowStatus::short_row;
    } else if (static_cast<std::size_t>(cells) > layout_.width) {
      status = RowStatus::long_row;
    } else if (bad_feature >= 0) {
      status = RowStatus::not_a_number;
    }
    const auto row_features = std::span(rows.features).subspan(first_feature);
    if (status == RowStatus::ok && std::any_of(row_features.begin(), row_features.end(), [](float v) { return std::isnan(v); })) {
      ++rows.missing;
    }
    rows.spans.push_back({offset(row), offset(kept_end)});
    rows.status.push_back(status);
    rows.cells.push_back(cells);
    rows.bad_feature.push_back(bad_feature);
    rows.line.push_back(line_);
    line_ += lines;
    row = std::min(cell, end);
    rows.consumed = static_cast<std::size_t>(row - base);
  }
  return rows;
}

}  // namespace etcc
