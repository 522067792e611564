// The Python face of the native core: checks shapes, releases the GIL, moves results out without a copy.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "bindings/bindings.hpp"
#include "cascade/router.hpp"
#include "network/scaler.hpp"
#include "rows/reader.hpp"
#include "rows/writer.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using etcc::ByteSpan;

template <class T>
using In1 = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using In2 = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using InOut1 = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<nb::numpy, T>;

template <class Array>
auto as_span(const Array& array) {
  return std::span(array.data(), array.size());
}

// Hands the memory of a vector or string to numpy. `Element` is the dtype that numpy sees.
template <class Element, class Values>
Out<Element> to_numpy(Values&& values, std::initializer_list<std::size_t> shape) {
  static_assert(std::is_rvalue_reference_v<decltype(values)>);
  auto owned = std::make_unique<Values>(std::move(values));
  auto* data = reinterpret_cast<Element*>(owned->data());
  nb::capsule owner(owned.get(), [](void* p) noexcept { delete static_cast<Values*>(p); });
  owned.release();
  return Out<Element>(data, shape, owner);
}

std::span<const char> bytes_of(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

nb::dict rows_to_dict(etcc::Rows&& rows, std::size_t numbers, std::size_t texts) {
  const std::size_t n = rows.size();
  nb::dict out;
  out["features"] = to_numpy<float>(std::move(rows.features), {n, numbers});
  out["spans"] = to_numpy<std::int64_t>(std::move(rows.spans), {n, 2});
  out["texts"] = to_numpy<std::int64_t>(std::move(rows.texts), {n, texts, 2});
  out["status"] = to_numpy<std::uint8_t>(std::move(rows.status), {n});
  out["cells"] = to_numpy<std::int32_t>(std::move(rows.cells), {n});
  out["bad_feature"] = to_numpy<std::int32_t>(std::move(rows.bad_feature), {n});
  out["line"] = to_numpy<std::int64_t>(std::move(rows.line), {n});
  out["missing"] = rows.missing;
  out["blank_lines"] = rows.blank_lines;
  out["repeated_headers"] = rows.repeated_headers;
  out["lines"] = rows.lines;
  out["consumed"] = rows.consumed;
  return out;
}

std::vector<std::int64_t> all_rows(std::size_t n) {
  std::vector<std::int64_t> rows(n);
  for (std::size_t i = 0; i < n; ++i) rows[i] = static_cast<std::int64_t>(i);
  return rows;
}

Out<float> transform(const etcc::Scaler& scaler, const In2<float>& raw, const std::optional<In1<std::int64_t>>& rows) {
  const std::size_t n = rows ? rows->size() : raw.shape(0);
  std::vector<float> out(n * scaler.inputs());
  {
    nb::gil_scoped_release release;
    const auto every = rows ? std::vector<std::int64_t>{} : all_rows(n);
    scaler.transform(as_span(raw), raw.shape(1), rows ? as_span(*rows) : std::span<const std::int64_t>(every), out);
  }
  return to_numpy<float>(std::move(out), {n, scaler.inputs()});
}

Out<bool> outside(const etcc::Scaler& scaler, const In2<float>& raw) {
  const std::size_t n = raw.shape(0);
  std::vector<std::uint8_t> out(n);
  {
    nb::gil_scoped_release release;
    scaler.outside(as_span(raw), raw.shape(1), out);
  }
  return to_numpy<bool>(std::move(out), {n});
}

auto decide(const In2<float>& logits, float temperature) {
  const std::size_t n = logits.shape(0);
  std::vector<std::int32_t> label(n);
  std::vector<float> confidence(n);
  std::vector<float> energy(n);
  {
    nb::gil_scoped_release release;
    etcc::decide(as_span(logits), logits.shape(1), temperature, label, confidence, energy);
  }
  return std::tuple(to_numpy<std::int32_t>(std::move(label), {n}), to_numpy<float>(std::move(confidence), {n}),
                    to_numpy<float>(std::move(energy), {n}));
}

auto partition(const In1<std::int32_t>& label, std::size_t groups) {
  etcc::Partition result;
  {
    nb::gil_scoped_release release;
    result = etcc::partition(as_span(label), groups);
  }
  const std::size_t n = result.rows.size();
  return std::pair(to_numpy<std::int64_t>(std::move(result.rows), {n}),
                   to_numpy<std::int64_t>(std::move(result.bounds), {groups + 1}));
}

template <class T>
void scatter(const In1<T>& values, const In1<std::int64_t>& rows, const InOut1<T>& out) {
  nb::gil_scoped_release release;
  etcc::scatter<T>(as_span(values), as_span(rows), std::span<T>(out.data(), out.size()));
}

Out<std::uint8_t> format_rows(const nb::bytes& bytes, const In2<std::int64_t>& spans, const In1<std::int32_t>& cells,
                              const In2<std::int32_t>& codes, const In2<float>& confidence,
                              const In1<std::int8_t>& known, std::vector<std::vector<std::string>> names,
                              std::size_t width, bool keep_columns, std::string line_end) {
  if (spans.shape(1) != 2 || codes.shape(0) != names.size() || confidence.shape(0) != names.size()) {
    throw nb::value_error("spans must be [n, 2]; codes and confidence [levels, n]");
  }
  const etcc::LabelColumns labels{std::move(names)};
  const etcc::RowFormat format{width, keep_columns, std::move(line_end)};
  const std::span row_spans(reinterpret_cast<const ByteSpan*>(spans.data()), spans.shape(0));
  std::string out;
  {
    nb::gil_scoped_release release;
    out = etcc::format_rows(bytes_of(bytes), row_spans, as_span(cells), as_span(codes), as_span(confidence),
                            as_span(known), labels, format);
  }
  const std::size_t size = out.size();
  return to_numpy<std::uint8_t>(std::move(out), {size});
}

}  // namespace

NB_MODULE(_native, m) {
  static_assert(sizeof(ByteSpan) == 2 * sizeof(std::int64_t));
  nb::exception<etcc::UnreadableRow>(m, "UnreadableRow", PyExc_ValueError);

  nb::class_<etcc::RowParser>(m, "RowParser")
      .def(
          "__init__",
          [](etcc::RowParser* self, std::size_t width, const std::vector<std::pair<std::size_t, double>>& numbers,
             std::vector<std::size_t> texts, const nb::bytes& header, const std::string& comment,
             const std::string& instruction_set) {
            etcc::RowLayout layout;
            layout.width = width;
            for (const auto& [index, factor] : numbers) layout.numbers.push_back({index, factor});
            layout.texts = std::move(texts);
            layout.header = std::string(header.c_str(), header.size());
            layout.comment = comment.empty() ? '\0' : comment.front();
            new (self) etcc::RowParser(std::move(layout), etcc::kernels(instruction_set));
          },
          "width"_a, "numbers"_a, "texts"_a, "header"_a, "comment"_a = "", "instruction_set"_a = "")
      .def(
          "parse",
          [](const etcc::RowParser& self, const nb::bytes& bytes, bool last, std::int64_t first_line) {
            etcc::Rows rows;
            {
              nb::gil_scoped_release release;
              rows = self.parse(bytes_of(bytes), last, first_line);
            }
            return rows_to_dict(std::move(rows), self.layout().numbers.size(), self.layout().texts.size());
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

  nb::class_<etcc::Scaler>(m, "Scaler")
      .def(
          "__init__",
          [](etcc::Scaler* self, const In1<std::int64_t>& sources, const In1<std::int64_t>& starts, const In1<float>& x,
             const In1<float>& y, const In1<float>& missing) {
            new (self) etcc::Scaler(as_span(sources), as_span(starts), as_span(x), as_span(y), as_span(missing));
          },
          "sources"_a, "starts"_a, "x"_a, "y"_a, "missing"_a)
      .def("transform", &transform, "raw"_a, "rows"_a = nb::none())
      .def("outside", &outside, "raw"_a);

  m.def("decide", &decide, "logits"_a, "temperature"_a = 1.0F);
  m.def("partition", &partition, "label"_a, "groups"_a);
  m.def("scatter", &scatter<float>, "values"_a.noconvert(), "rows"_a, "out"_a.noconvert());
  m.def("scatter", &scatter<std::int32_t>, "values"_a.noconvert(), "rows"_a, "out"_a.noconvert());
  m.def("format_rows", &format_rows, "bytes"_a, "spans"_a, "cells"_a, "codes"_a, "confidence"_a, "known"_a, "names"_a,
        "width"_a, "keep_columns"_a, "line_end"_a);
  bind_cascade(m);
}
