// The Python face of the reader and the writer of rows.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "rows/reader.hpp"
#include "rows/writer.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using etcc::ByteSpan;

std::span<const char> bytes_of(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

nb::dict rows_to_dict(etcc::Rows&& rows, std::size_t numbers, std::size_t texts) {
  const std::size_t n = rows.size();
  nb::dict out;
  out["features"] = to_numpy<float>(std::move(rows.features), {n, numbers});
  out["spans"] = to_numpy<std::int64_t>(std::move(rows.spans), {n, 2});
  out["texts"] = to_numpy<std::int64_t>(std::move(rows.texts), {n, texts, 2});
  out["status"] = to_numpy<std::uint8_t>(std::move(rows.status), {n});
  out["cells"] = to_numpy<std::int32_t>(std::move(rows.cells), {n});
  out["fault"] = to_numpy<std::int32_t>(std::move(rows.fault), {n});
  out["line"] = to_numpy<std::int64_t>(std::move(rows.line), {n});
  out["missing"] = rows.missing;
  out["blank_lines"] = rows.blank_lines;
  out["repeated_headers"] = rows.repeated_headers;
  out["lines"] = rows.lines;
  out["consumed"] = rows.consumed;
  return out;
}

Out<std::uint8_t> format_rows(const nb::bytes& bytes, const In<std::int64_t, 2>& spans,
                              const In<std::int32_t, 1>& cells, const In<std::int32_t, 2>& codes,
                              const In<float, 2>& confidence, const In<std::int8_t, 1>& known,
                              const In<std::int64_t, 3>& chosen, std::vector<std::vector<std::string>> names,
                              std::size_t width, bool keep_columns, std::string line_end) {
  if (spans.shape(1) != 2 || codes.shape(0) != names.size() || confidence.shape(0) != names.size() ||
      chosen.shape(2) != 2) {
    throw nb::value_error("spans must be [n, 2]; codes and confidence [levels, n]; chosen [n, cells, 2]");
  }
  const etcc::RowFormat format{.names = std::move(names),
                               .width = width,
                               .keep_columns = keep_columns,
                               .chosen = chosen.shape(1),
                               .line_end = std::move(line_end)};
  const etcc::LabelledRows rows{.bytes = bytes_of(bytes),
                                .spans = {reinterpret_cast<const ByteSpan*>(spans.data()), spans.shape(0)},
                                .cells = as_span(cells),
                                .codes = as_span(codes),
                                .confidence = as_span(confidence),
                                .known = as_span(known),
                                .chosen = {reinterpret_cast<const ByteSpan*>(chosen.data()), chosen.size() / 2}};
  std::string out;
  {
    nb::gil_scoped_release release;
    out = etcc::format_rows(rows, format);
  }
  const std::size_t size = out.size();
  return to_numpy<std::uint8_t>(std::move(out), {size});
}

// Columns that the kind does not have repeat the last.
etcc::Relation relation(const std::string& kind, const std::vector<std::uint32_t>& columns) {
  using Kind = etcc::Relation::Kind;
  const bool sum = kind == "sum";
  if ((!sum && kind != "order" && kind != "gaps") || columns.size() != (sum ? 4 : 3)) {
    throw std::invalid_argument("a relation is a sum of 4 columns, or an order or gaps of 3");
  }
  return {.kind = sum               ? Kind::sum
                  : kind == "order" ? Kind::order
                                    : Kind::gaps,
          .columns = {columns[0], columns[1], columns[2], columns.back()}};
}

}  // namespace

void bind_rows(nb::module_& m) {
  static_assert(sizeof(ByteSpan) == 2 * sizeof(std::int64_t));
  const nb::exception<etcc::UnreadableRow> unreadable_row(m, "UnreadableRow", PyExc_ValueError);

  nb::class_<etcc::RowParser>(m, "RowParser")
      .def(
          "__init__",
          [](etcc::RowParser* self, std::size_t width, const std::vector<std::pair<std::size_t, double>>& numbers,
             std::vector<std::size_t> texts, const nb::bytes& header, const std::string& comment,
             const std::string& instruction_set, std::optional<std::size_t> features,
             const std::vector<std::pair<std::string, std::vector<std::uint32_t>>>& relations) {
            etcc::RowLayout layout;
            layout.width = width;
            for (const auto& [index, factor] : numbers) layout.numbers.push_back({index, factor});
            layout.features = features.value_or(numbers.size());
            for (const auto& [kind, columns] : relations) layout.relations.push_back(relation(kind, columns));
            layout.texts = std::move(texts);
            layout.header = std::string(header.c_str(), header.size());
            layout.comment = comment.empty() ? '\0' : comment.front();
            new (self) etcc::RowParser(std::move(layout), etcc::kernels(instruction_set));
          },
          "width"_a, "numbers"_a, "texts"_a, "header"_a, "comment"_a = "", "instruction_set"_a = "",
          "features"_a = nb::none(), "relations"_a = std::vector<std::pair<std::string, std::vector<std::uint32_t>>>())
      .def(
          "parse",
          [](const etcc::RowParser& self, const nb::bytes& bytes, bool last, std::int64_t first_line) {
            etcc::Rows rows;
            {
              nb::gil_scoped_release release;
              rows = self.parse(bytes_of(bytes), last, first_line);
            }
            return rows_to_dict(std::move(rows), self.layout().features, self.layout().texts.size());
          },
          "bytes"_a, "last"_a, "first_line"_a = 1);
  m.def(
      "find_lines",
      [](const nb::bytes& bytes) {
        etcc::Lines lines{};
        {
          nb::gil_scoped_release release;
          lines = etcc::find_lines(bytes_of(bytes));
        }
        return std::tuple(lines.count, lines.end, lines.quotes);
      },
      "bytes"_a);
  m.attr("MAX_ROW_BYTES") = etcc::RowParser::max_row_bytes;
  m.attr("MAX_ROWS") = etcc::RowParser::max_rows;

  m.def("format_rows", &format_rows, "bytes"_a, "spans"_a, "cells"_a, "codes"_a, "confidence"_a, "known"_a, "chosen"_a,
        "names"_a, "width"_a, "keep_columns"_a, "line_end"_a);
}
