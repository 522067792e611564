// Any bytes as rows: no instruction set and no cut may change what is read, and labelled rows come out of it.
// The first byte of the input says where the rest is cut.
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/isa.hpp"
#include "rows/reader.hpp"
#include "rows/writer.hpp"

namespace {

struct Row {
  std::vector<std::uint32_t> features;  // their bits
  std::string text;
  std::vector<std::string> texts;
  etcc::RowStatus status;
  std::int32_t cells, fault;
  std::int64_t line;
  bool operator==(const Row&) const = default;
};

struct Table {
  std::vector<Row> rows;
  std::int64_t missing = 0, blank_lines = 0, repeated_headers = 0, lines = 0;
  bool operator==(const Table&) const = default;
};

void require(bool holds) {
  if (!holds) std::abort();
}

const etcc::RowLayout& layout() {
  static const etcc::RowLayout four_cells{
      .width = 4,
      .numbers = {{.index = 0, .factor = 1.0}, {.index = 2, .factor = 1e6}, {.index = 3, .factor = 1.0}},
      .features = 2,
      .relations = {{.kind = etcc::Relation::Kind::order, .columns = {0, 1, 2, 2}},
                    {.kind = etcc::Relation::Kind::gaps, .columns = {2, 1, 0, 0}}},
      .texts = {1, 3},
      .header = "a,b,c,d",
      .comment = '%'};
  return four_cells;
}

// Adds what `parse` gave for the bytes.
void add(Table& table, const etcc::Rows& rows, std::string_view bytes) {
  const std::size_t numbers = layout().features, texts = layout().texts.size();
  const auto piece = [bytes](const etcc::ByteSpan& span) {
    require(span.begin >= 0 && span.begin <= span.end && static_cast<std::size_t>(span.end) <= bytes.size());
    const auto begin = static_cast<std::size_t>(span.begin);
    return std::string(bytes.substr(begin, static_cast<std::size_t>(span.end) - begin));
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Row row{.features = {},
            .text = piece(rows.spans[i]),
            .texts = {},
            .status = rows.status[i],
            .cells = rows.cells[i],
            .fault = rows.fault[i],
            .line = rows.line[i]};
    for (std::size_t f = 0; f < numbers; ++f) {
      row.features.push_back(std::bit_cast<std::uint32_t>(rows.features[i * numbers + f]));
    }
    for (std::size_t t = 0; t < texts; ++t) row.texts.push_back(piece(rows.texts[i * texts + t]));
    table.rows.push_back(row);
  }
  table.missing += rows.missing;
  table.blank_lines += rows.blank_lines;
  table.repeated_headers += rows.repeated_headers;
  table.lines += rows.lines;
}

Table read(const etcc::RowParser& parser, std::string_view bytes, std::size_t cut) {
  Table table;
  const etcc::Rows first = parser.parse(bytes.substr(0, cut), cut == bytes.size(), 1);
  require(first.consumed <= cut);
  add(table, first, bytes.substr(0, cut));
  const std::string_view rest = bytes.substr(first.consumed);
  if (cut < bytes.size()) add(table, parser.parse(rest, true, 1 + table.lines), rest);
  return table;
}

void write(const etcc::RowParser& parser, std::string_view bytes) {
  const etcc::Rows rows = parser.parse(bytes, true, 1);
  const std::size_t n = rows.size();
  std::vector<std::int32_t> codes(n);
  std::vector<float> confidence(n);
  std::vector<std::int8_t> known(n);
  for (std::size_t i = 0; i < n; ++i) {
    codes[i] = static_cast<std::int32_t>(i % 3) - 1;
    confidence[i] = static_cast<float>(i % 5) / 4;
    known[i] = static_cast<std::int8_t>(i % 3 - 1);
  }
  const etcc::LabelledRows labelled{.bytes = bytes,
                                    .spans = rows.spans,
                                    .cells = rows.cells,
                                    .codes = codes,
                                    .confidence = confidence,
                                    .known = known,
                                    .chosen = {}};
  const auto bytes_of = [](std::span<const etcc::ByteSpan> spans) {
    std::size_t size = 0;
    for (const etcc::ByteSpan& span : spans) size += static_cast<std::size_t>(span.end - span.begin);
    return size;
  };
  etcc::RowFormat format{.names = {{"x", "y"}}, .width = layout().width};
  require(etcc::format_rows(labelled, format).size() >= bytes_of(rows.spans) + 4 * n);
  etcc::LabelledRows chosen = labelled;
  chosen.chosen = rows.texts;
  format.keep_columns = false;
  format.chosen = layout().texts.size();
  require(etcc::format_rows(chosen, format).size() >= bytes_of(rows.texts) + (3 + format.chosen) * n);
}

// One for each instruction set of this CPU that has row kernels of its own.
const std::vector<etcc::RowParser>& parsers() {
  static const std::vector<etcc::Kernels> kernels = [] {
    std::vector<etcc::Kernels> sets(1);
    etcc::portable::fill_row_kernels(sets.front());
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) etcc::avx2::fill_row_kernels(sets.emplace_back());
    if (__builtin_cpu_supports("avx512bw")) etcc::avx512::fill_row_kernels(sets.emplace_back());
#elif defined(__aarch64__)
    etcc::neon::fill_row_kernels(sets.emplace_back());
#endif
    return sets;
  }();
  static const std::vector<etcc::RowParser> one_per_set = [] {
    std::vector<etcc::RowParser> parsers;
    parsers.reserve(kernels.size());
    for (const etcc::Kernels& set : kernels) parsers.emplace_back(layout(), set);
    return parsers;
  }();
  return one_per_set;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Table whole = read(parsers().front(), bytes, bytes.size());
  for (const etcc::RowParser& parser : parsers()) {
    require(read(parser, bytes, bytes.size()) == whole);
    require(read(parser, bytes, std::min(bytes.size(), std::size_t{data[0]})) == whole);
    write(parser, bytes);
  }
  return 0;
}
