// The Python face of scalers, networks and the fused cascade.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "cascade/cascade.hpp"
#include "cascade/decide.hpp"
#include "kernels/kernels.hpp"
#include "network/network.hpp"
#include "network/scaler.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

std::vector<std::int64_t> all_rows(std::size_t n) {
  std::vector<std::int64_t> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

Out<float> transform(const etcc::Scaler& scaler, const In<float, 2>& raw,
                     const std::optional<In<std::int64_t, 1>>& rows) {
  const std::size_t n = rows ? rows->size() : raw.shape(0);
  std::vector<float> out(n * scaler.inputs());
  {
    nb::gil_scoped_release release;
    const auto every = rows ? std::vector<std::int64_t>{} : all_rows(n);
    scaler.transform(as_span(raw), raw.shape(1), rows ? as_span(*rows) : std::span<const std::int64_t>(every), out);
  }
  return to_numpy<float>(std::move(out), {n, scaler.inputs()});
}

Out<bool> outside(const etcc::Scaler& scaler, const In<float, 2>& raw) {
  const std::size_t n = raw.shape(0);
  std::vector<std::uint8_t> out(n);
  {
    nb::gil_scoped_release release;
    scaler.outside(as_span(raw), raw.shape(1), out);
  }
  return to_numpy<bool>(std::move(out), {n});
}

auto decide(const In<float, 2>& logits, float temperature) {
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

// Of any shape; only their number of values is checked.
using Weights = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;

// Keeps its arrays alive; an `etcc::Layer` only refers to them.
struct PyLayer {
  std::string op;
  std::size_t size, width;
  std::optional<Weights> weight, bias;

  etcc::Layer view() const {
    const auto values = [](const std::optional<Weights>& weights) {
      return weights ? as_span(*weights) : std::span<const float>{};
    };
    return {.op = op, .size = size, .width = width, .weight = values(weight), .bias = values(bias)};
  }
};

std::vector<etcc::Layer> views(const std::vector<PyLayer>& layers) {
  std::vector<etcc::Layer> out;
  out.reserve(layers.size());
  for (const PyLayer& layer : layers) out.push_back(layer.view());
  return out;
}

// One network behind inputs that are scaled already.
struct PyNetwork {
  etcc::Network network;

  auto run(const In<float, 2>& scaled) const {
    const std::size_t n = scaled.shape(0);
    if (scaled.shape(1) != network.inputs()) throw nb::value_error("the network has another number of inputs");
    std::vector<float> logits(n * network.classes());
    {
      nb::gil_scoped_release release;
      etcc::Workspace space;
      network.reserve(space);
      network.run(as_span(scaled), network.inputs(), all_rows(n), logits, space);
    }
    return to_numpy<float>(std::move(logits), {n, network.classes()});
  }
};

// What a node of a cascade is made of.
struct PyNode {
  const etcc::Scaler& scaler;
  std::vector<PyLayer> layers;
  float temperature;
  std::vector<std::int32_t> codes, children;
};

void make_cascade(etcc::Cascade* self, const std::vector<PyNode>& nodes, std::size_t levels, std::size_t features,
                  std::size_t max_task_rows, std::size_t threads, std::string_view instruction_set, bool int8) {
  const auto& kernels = etcc::kernels(instruction_set);
  std::vector<etcc::Cascade::Node> parts;
  parts.reserve(nodes.size());
  for (const PyNode& node : nodes) {
    parts.push_back({.network = etcc::Network(&node.scaler, node.scaler.inputs(), views(node.layers), kernels, int8),
                     .temperature = node.temperature,
                     .codes = node.codes,
                     .children = node.children});
  }
  new (self) etcc::Cascade(std::move(parts), levels, features, max_task_rows, threads);
}

void run_cascade(etcc::Cascade& self, const In<float, 2>& raw, const InOut<std::int32_t, 2>& codes,
                 const InOut<float, 2>& confidence, const InOut<float, 2>& energy) {
  const std::size_t n = raw.shape(0);
  const auto fits = [&](const auto& out) { return out.shape(0) == self.levels() && out.shape(1) == n; };
  if (raw.shape(1) != self.features() || !fits(codes) || !fits(confidence) || !fits(energy)) {
    throw nb::value_error("features must be [n, features]; codes, confidence and energy [levels, n]");
  }
  nb::gil_scoped_release release;
  self.run(as_span(raw), as_span(codes), as_span(confidence), as_span(energy));
}

}  // namespace

void bind_networks(nb::module_& m) {
  m.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const auto name : etcc::instruction_sets()) names.emplace_back(name);
    return names;
  });
  m.def(
      "has_int8", [](std::string_view instruction_set) { return etcc::kernels(instruction_set).multiply8 != nullptr; },
      "instruction_set"_a = "");
  m.def(
      "spin",
      [](std::size_t rounds, std::string_view instruction_set) {
        const auto& kernels = etcc::kernels(instruction_set);
        nb::gil_scoped_release release;
        [[maybe_unused]] const volatile float kept = kernels.spin(rounds);
        return rounds * kernels.peak;
      },
      "rounds"_a, "instruction_set"_a = "", "Does nothing but multiply-adds in registers; returns their number.");

  nb::class_<etcc::Scaler>(m, "Scaler")
      .def(
          "__init__",
          [](etcc::Scaler* self, const In<std::int64_t, 1>& sources, const In<std::int64_t, 1>& starts,
             const In<float, 1>& x, const In<float, 1>& y, const In<float, 1>& missing,
             const In<std::int64_t, 1>& operations, const In<std::int64_t, 1>& second) {
            new (self) etcc::Scaler(as_span(sources), as_span(starts), as_span(x), as_span(y), as_span(missing),
                                    as_span(operations), as_span(second));
          },
          "sources"_a, "starts"_a, "x"_a, "y"_a, "missing"_a, "operations"_a, "second"_a)
      .def("transform", &transform, "raw"_a, "rows"_a = nb::none())
      .def("outside", &outside, "raw"_a);

  m.def("decide", &decide, "logits"_a, "temperature"_a = 1.0F);

  nb::class_<PyLayer>(m, "Layer")
      .def(
          "__init__",
          [](PyLayer* self, std::string op, std::size_t size, std::size_t width, std::optional<Weights> weight,
             std::optional<Weights> bias) {
            new (self) PyLayer{.op = std::move(op),
                               .size = size,
                               .width = width,
                               .weight = std::move(weight),
                               .bias = std::move(bias)};
          },
          "op"_a, "size"_a = 0, "width"_a = 0, "weight"_a = nb::none(), "bias"_a = nb::none());

  nb::class_<PyNetwork>(m, "Network")
      .def(
          "__init__",
          [](PyNetwork* self, std::size_t inputs, const std::vector<PyLayer>& layers, std::string_view instruction_set,
             bool int8) {
            const auto& kernels = etcc::kernels(instruction_set);
            new (self) PyNetwork{.network = etcc::Network(nullptr, inputs, views(layers), kernels, int8)};
          },
          "inputs"_a, "layers"_a, "instruction_set"_a = "", "int8"_a = false)
      .def_prop_ro("int8_layers", [](const PyNetwork& self) { return self.network.int8_layers(); })
      .def("run", &PyNetwork::run, "scaled"_a);

  nb::class_<PyNode>(m, "Node").def(
      "__init__",
      [](PyNode* self, const etcc::Scaler& scaler, std::vector<PyLayer> layers, float temperature,
         std::vector<std::int32_t> codes, std::vector<std::int32_t> children) {
        new (self) PyNode{.scaler = scaler,
                          .layers = std::move(layers),
                          .temperature = temperature,
                          .codes = std::move(codes),
                          .children = std::move(children)};
      },
      "scaler"_a, "layers"_a, "temperature"_a, "codes"_a, "children"_a, nb::keep_alive<1, 2>());

  nb::class_<etcc::Cascade>(m, "Cascade")
      .def("__init__", &make_cascade, "nodes"_a, "levels"_a, "features"_a, "block"_a, "threads"_a,
           "instruction_set"_a = "", "int8"_a = false)
      .def("run", &run_cascade, "raw"_a, "codes"_a.noconvert(), "confidence"_a.noconvert(), "energy"_a.noconvert());
}
