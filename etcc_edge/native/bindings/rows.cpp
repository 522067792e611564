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
#include "rows/columns.hpp"
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

etcc::NumberType number_type(const nb::dlpack::dtype& type) {
  using Code = nb::dlpack::dtype_code;
  const auto is = [&](Code code, int bits) {
    return type.code == static_cast<std::uint8_t>(code) && type.bits == bits;
  };
  using enum etcc::NumberType;
  if (is(Code::Float, 32)) return f32;
  if (is(Code::Float, 64)) return f64;
  if (is(Code::Int, 8)) return i8;
  if (is(Code::Int, 16)) return i16;
  if (is(Code::Int, 32)) return i32;
  if (is(Code::Int, 64)) return i64;
  if (is(Code::UInt, 8)) return u8;
  if (is(Code::UInt, 16)) return u16;
  if (is(Code::UInt, 32)) return u32;
  if (is(Code::UInt, 64)) return u64;
  throw std::invalid_argument("a column of numbers is float32, float64 or of integers");
}

// Of any type of number; validity, the bit of its first row, rows that are no number; factor.
using Column = std::tuple<nb::ndarray<nb::ro, nb::ndim<1>, nb::device::cpu>, std::optional<In<std::uint8_t, 1>>,
                          std::size_t, std::optional<In<std::uint8_t, 1>>, double>;

std::int64_t read_columns(const std::vector<Column>& columns,
                          const std::vector<std::pair<std::string, std::vector<std::uint32_t>>>& relations,
                          const InOut<float, 2>& features, const InOut<std::uint8_t, 1>& status,
                          const InOut<std::int32_t, 1>& fault) {
  const std::size_t n = status.shape(0);
  std::vector<etcc::NumberCells> cells;
  cells.reserve(columns.size());
  for (const auto& [values, validity, offset, wrong, factor] : columns) {
    if (values.shape(0) != n || (validity && validity->size() * 8 < offset + n) || (wrong && wrong->size() != n)) {
      throw nb::value_error("columns differ in rows");
    }
    cells.push_back({.type = number_type(values.dtype()),
                     .values = values.data(),
                     .stride = values.stride(0) * static_cast<std::ptrdiff_t>(values.itemsize()),
                     .validity = validity ? validity->data() : nullptr,
                     .offset = offset,
                     .wrong = wrong ? wrong->data() : nullptr,
                     .factor = factor});
  }
  std::vector<etcc::Relation> between;
  between.reserve(relations.size());
  for (const auto& [kind, places] : relations) between.push_back(relation(kind, places));
  nb::gil_scoped_release release;
  return etcc::read_columns(cells, features.shape(1), between,
                            {.features = as_span(features),
                             .status = {reinterpret_cast<etcc::RowStatus*>(status.data()), n},
                             .fault = as_span(fault)});
}

std::span<const char> text_of(const In<std::uint8_t, 1>& data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

auto parse_cells(const In<std::uint8_t, 1>& data, const In<std::int64_t, 1>& ends) {
  if (ends.size() == 0) throw nb::value_error("ends are one more than the cells");
  const std::size_t n = ends.size() - 1;
  std::vector<double> numbers(n);
  std::vector<std::uint8_t> wrong(n);
  {
    nb::gil_scoped_release release;
    etcc::parse_cells(text_of(data), as_span(ends), numbers, wrong);
  }
  return std::pair(to_numpy<double>(std::move(numbers), {n}), to_numpy<std::uint8_t>(std::move(wrong), {n}));
}

auto gather_cells(const nb::bytes& bytes, const In<std::int64_t, 3>& texts, std::size_t place) {
  if (texts.shape(2) != 2 || place >= texts.shape(1)) throw nb::value_error("texts must be [n, cells, 2]");
  etcc::TextCells cells;
  {
    nb::gil_scoped_release release;
    const std::span spans(reinterpret_cast<const ByteSpan*>(texts.data()), texts.size() / 2);
    cells = etcc::gather_cells(bytes_of(bytes), spans, texts.shape(1), place);
  }
  const std::size_t size = cells.text.size();
  const std::size_t ends = cells.ends.size();
  return std::pair(to_numpy<std::uint8_t>(std::move(cells.text), {size}),
                   to_numpy<std::int64_t>(std::move(cells.ends), {ends}));
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

  m.def("read_columns", &read_columns, "columns"_a, "relations"_a, "features"_a.noconvert(), "status"_a.noconvert(),
        "fault"_a.noconvert());
  m.def("parse_cells", &parse_cells, "data"_a, "ends"_a);
  m.def("gather_cells", &gather_cells, "bytes"_a, "texts"_a, "place"_a);

  m.def("format_rows", &format_rows, "bytes"_a, "spans"_a, "cells"_a, "codes"_a, "confidence"_a, "known"_a, "chosen"_a,
        "names"_a, "width"_a, "keep_columns"_a, "line_end"_a);
}
