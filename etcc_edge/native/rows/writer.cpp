#include "rows/writer.hpp"

#include <array>
#include <cmath>
#include <stdexcept>

namespace etcc {
namespace {

// With four decimals, rounded half to even. The product is exact: 24 bits of the float, 10 of 10000 / 2^4.
void append_confidence(std::string& out, float value) {
  if (!(value >= 0 && value <= 1)) throw std::invalid_argument("a confidence lies between 0 and 1");
  const auto tenthousandths = static_cast<unsigned>(std::nearbyint(double{value} * 10000));
  std::array<char, 6> text = {static_cast<char>('0' + tenthousandths / 10000), '.'};
  unsigned rest = tenthousandths % 10000;
  for (std::size_t i = text.size() - 1; i > 1; --i, rest /= 10) text[i] = static_cast<char>('0' + rest % 10);
  out.append(text.data(), text.size());
}

void append_bytes(std::string& out, std::span<const char> bytes, ByteSpan span) {
  const auto [begin, end] = span;
  if (begin < 0 || end < begin || static_cast<std::size_t>(end) > bytes.size()) {
    throw std::out_of_range("row or cell outside the bytes");
  }
  out.append(bytes.data() + begin, static_cast<std::size_t>(end - begin));
}

}  // namespace

void LabelledRows::check(std::size_t levels, std::size_t chosen_cells) const {
  const std::size_t n = size();
  if (cells.size() != n || codes.size() != n * levels || confidence.size() != n * levels ||
      (!known.empty() && known.size() != n) || chosen.size() != n * chosen_cells) {
    throw std::invalid_argument("rows, codes, confidence, known and chosen cells differ in length");
  }
}

std::string format_rows(const LabelledRows& rows, const RowFormat& format) {
  const std::size_t n = rows.size();
  const std::size_t levels = format.names.size();
  rows.check(levels, format.chosen);
  const bool has_own_cells = format.keep_columns || format.chosen > 0;
  std::string out;
  out.reserve((format.keep_columns ? rows.bytes.size() : 0) + n * levels * 24);
  for (std::size_t row = 0; row < n; ++row) {
    if (format.keep_columns) {
      append_bytes(out, rows.bytes, rows.spans[row]);
      const auto present = static_cast<std::size_t>(rows.cells[row]);
      if (present < format.width) out.append(format.width - present, ',');
    } else {
      for (std::size_t i = 0; i < format.chosen; ++i) {
        if (i > 0) out.push_back(',');
        append_bytes(out, rows.bytes, rows.chosen[row * format.chosen + i]);
      }
    }
    for (std::size_t level = 0; level < levels; ++level) {
      if (has_own_cells || level > 0) out.push_back(',');
      const std::int32_t code = rows.codes[level * n + row];
      if (code >= 0) out.append(format.names[level].at(static_cast<std::size_t>(code)));
      out.push_back(',');
      const float confidence = rows.confidence[level * n + row];
      if (code >= 0 && !std::isnan(confidence)) append_confidence(out, confidence);
    }
    if (!rows.known.empty()) {
      out.push_back(',');
      if (rows.known[row] >= 0) out.push_back(rows.known[row] > 0 ? '1' : '0');
    }
    out.append(format.line_end);
  }
  return out;
}

}  // namespace etcc
