// The Python face of networks and of the fused cascade.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.hpp"
#include "cascade/cascade.hpp"
#include "kernels/kernels.hpp"
#include "network/network.hpp"
#include "network/scaler.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T, std::size_t Dimensions>
using In = nb::ndarray<const T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
template <class T>
using InOut2 = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class Array>
auto as_span(const Array& array) {
  return std::span(array.data(), array.size());
}

// Operation, size, width, weight and bias; weights flattened, empty without.
using PyLayer = std::tuple<std::string, std::size_t, std::size_t, In<float, 1>, In<float, 1>>;

std::vector<etcc::Layer> layers_of(const std::vector<PyLayer>& layers) {
  std::vector<etcc::Layer> out;
  for (const auto& [op, size, width, weight, bias] : layers) {
    out.push_back({op, size, width, as_span(weight), as_span(bias)});
  }
  return out;
}

// One network behind inputs that are scaled already.
struct PyNetwork {
  etcc::Network network;

  auto run(const In<float, 2>& scaled) const {
    const std::size_t n = scaled.shape(0);
    if (scaled.shape(1) != network.inputs()) throw nb::value_error("the network has another number of inputs");
    auto logits = std::make_unique<std::vector<float>>(n * network.classes());
    {
      nb::gil_scoped_release release;
      etcc::Workspace space;
      network.reserve(space);
      std::vector<std::int64_t> rows(n);
      std::iota(rows.begin(), rows.end(), 0);
      network.run(scaled.data(), network.inputs(), rows, logits->data(), space);
    }
    nb::capsule owner(logits.get(), [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
    return nb::ndarray<nb::numpy, float>(logits.release()->data(), {n, network.classes()}, owner);
  }
};

// Scaler, layers, temperature, codes and children of one node.
using PyNode =
    std::tuple<const etcc::Scaler*, std::vector<PyLayer>, float, std::vector<std::int32_t>, std::vector<std::int32_t>>;

void make_cascade(etcc::Cascade* self, const std::vector<PyNode>& nodes, std::size_t levels, std::size_t features,
                  std::size_t block, std::size_t threads, std::string_view instruction_set, bool int8) {
  const auto& kernels = etcc::kernels(instruction_set);
  std::vector<etcc::Cascade::Node> made;
  for (const auto& [scaler, layers, temperature, codes, children] : nodes) {
    made.push_back(
        {etcc::Network(scaler, scaler->inputs(), layers_of(layers), kernels, int8), temperature, codes, children});
  }
  new (self) etcc::Cascade(std::move(made), levels, features, block, threads);
}

void run_cascade(etcc::Cascade& self, const In<float, 2>& raw, const InOut2<std::int32_t>& codes,
                 const InOut2<float>& confidence, const InOut2<float>& energy) {
  const std::size_t n = raw.shape(0);
  const auto fits = [&](const auto& out) { return out.shape(0) == self.levels() && out.shape(1) == n; };
  if (raw.shape(1) != self.features() || !fits(codes) || !fits(confidence) || !fits(energy)) {
    throw nb::value_error("features must be [n, features]; codes, confidence and energy [levels, n]");
  }
  nb::gil_scoped_release release;
  self.run(as_span(raw), as_span(codes), as_span(confidence), as_span(energy));
}

}  // namespace

void bind_cascade(nb::module_& m) {
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

  nb::class_<PyNetwork>(m, "Network")
      .def(
          "__init__",
          [](PyNetwork* self, std::size_t inputs, const std::vector<PyLayer>& layers, std::string_view instruction_set,
             bool int8) {
            const auto& kernels = etcc::kernels(instruction_set);
            new (self) PyNetwork{etcc::Network(nullptr, inputs, layers_of(layers), kernels, int8)};
          },
          "inputs"_a, "layers"_a, "instruction_set"_a = "", "int8"_a = false)
      .def_prop_ro("int8_layers", [](const PyNetwork& self) { return self.network.int8_layers(); })
      .def("run", &PyNetwork::run, "scaled"_a);

  nb::class_<etcc::Cascade>(m, "Cascade")
      .def("__init__", &make_cascade, "nodes"_a, "levels"_a, "features"_a, "block"_a, "threads"_a,
           "instruction_set"_a = "", "int8"_a = false)
      .def("run", &run_cascade, "raw"_a, "codes"_a.noconvert(), "confidence"_a.noconvert(), "energy"_a.noconvert());
}
