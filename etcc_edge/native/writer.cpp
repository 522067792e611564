#include "writer.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <stdexcept>

namespace etcc {
namespace {

void append_confidence(std::string& out, float value) {
  if (!std::isfinite(value)) return;
  std::array<char, 64> text;
  const auto result =
      std::to_chars(text.data(), text.data() + text.size(), static_cast<double>(value), std::chars_format::fixed, 4);
  out.append(text.data(), result.ptr);
}

}  // namespace

std::string format_rows(std::span<const char> bytes, std::span<const ByteSpan> spans,
                        std::span<const std::int32_t> cells, std::span<const std::int32_t> codes,
                        std::span<const float> confidence, std::span<const std::int8_t> known, const LabelColumns& labels, const RowFormat& format) {
  const std::size_t n = spans.size();
  const std::size_t levels = labels.names.size();
  if (cells.size() != n || codes.size() != n * levels || confidence.size() != n * levels || known.size() != n) {
    throw std::invalid_argument("rows, codes, confidence and known differ in length");
  }
  std::string out;
  out.reserve((format.keep_columns ? bytes.size() : 0) + n * levels * 24);
  for (std::size_t row = 0; row < n; ++row) {
    if (format.keep_columns) {
      const auto [begin, end] = spans[row];
      if (begin < 0 || end < begin || static_cast<std::size_t>(end) > bytes.size()) {
        throw std::out_of_range("row outside the bytes");
      }
      out.append(bytes.data() + begin, static_cast<std::size_t>(end - begin));
      const auto present = static_cast<std::size_t>(cells[row]);
      if (present < format.width) out.append(format.width - present, ',');
    }
    for (std::size_t level = 0; level < levels; ++level) {
      if (format.keep_columns || level > 0) out.push_back(',');
      const std::int32_t code = codes[level * n + row];
      if (code >= 0) out.append(labels.names[level].at(static_cast<std::size_t>(code)));
      out.push_back(',');
      if (code >= 0) append_confidence(out, confidence[level * n + row]);
    }
    out.push_back(',');
    if (known[row] >= 0) out.push_back(known[row] > 0 ? '1' : '0');
    out.append(format.line_end);
  }
  return out;
}

}  // namespace etcc
