// The Python face of the meter.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "meter/meter.hpp"
#include "meter/numbers.hpp"
#include "meter/ring.hpp"
#include "meter/text.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using namespace etcc::meter;

Profile profile_of(const std::string& name) {
  for (const Profile& profile : profiles) {
    if (profile.name == name) return profile;
  }
  throw nb::value_error("unknown profile");
}

// Flows that have ended, with the profile that says what their figures mean.
struct Flows {
  Profile profile;
  std::shared_ptr<const std::vector<Flow>> all;
  std::span<const Flow> flows;  // some of `all`
};

class PyMeter {
 public:
  PyMeter(const std::string& profile, std::int64_t timeout, bool strict, std::size_t max_flows, std::uint64_t seed,
          bool lone, std::uint32_t after_packets, std::int64_t after_time, std::size_t threads)
      : profile_(profile_of(profile)),
        meter_(profile_,
               {.timeout = timeout,
                .max_flows = max_flows,
                .seed = seed,
                .gives_lone = lone,
                .after_packets = after_packets,
                .after_time = after_time},
               strict, threads) {}

  void feed(const nb::bytes& bytes) {
    const Bytes span(reinterpret_cast<const std::uint8_t*>(bytes.c_str()), bytes.size());
    const nb::gil_scoped_release release;
    meter_.feed(span);
  }

  void capture(Ring& ring, int milliseconds, std::int64_t now, std::int64_t step_before, std::int64_t step) {
    const nb::gil_scoped_release release;
    ring.wait(milliseconds);
    ring.read({.now = now, .step_before = step_before, .step = step},
              [this](const Frame& frame) { meter_.add(frame); });
    meter_.settle();
  }

  Flows take(std::int64_t clock_step) {
    std::vector<Flow> ended = meter_.take();
    if (clock_step != 0) {
      for (Flow& flow : ended) flow.shift(clock_step);
    }
    auto all = std::make_shared<const std::vector<Flow>>(std::move(ended));
    return {.profile = profile_, .all = all, .flows = *all};
  }

  std::map<std::string, std::uint64_t> skipped() const {
    std::map<std::string, std::uint64_t> counts;
    for (std::size_t i = 1; i < skip_reasons; ++i) counts[skip_names[i]] = meter_.skips()[i];
    return counts;
  }

  Profile profile_;
  Meter meter_;
};

// The second of `changes` is the zone from the first on, in microseconds; they rise.
Out<std::uint8_t> text(const Flows& flows, std::int64_t zone,
                       const std::vector<std::pair<std::int64_t, std::int64_t>>& changes) {
  std::string out;
  {
    const nb::gil_scoped_release release;
    for (const Flow& flow : flows.flows) {
      const auto next =
          std::ranges::upper_bound(changes, flow.start, {}, [](const auto& change) { return change.first; });
      append_row(out, flow, flows.profile, next == changes.begin() ? zone : std::prev(next)->second);
    }
  }
  const std::size_t size = out.size();
  return to_numpy<std::uint8_t>(std::move(out), {size});
}

template <class Mark>
Out<bool> marks(const Flows& flows, Mark mark) {
  std::vector<std::uint8_t> values(flows.flows.size());
  std::ranges::transform(flows.flows, values.begin(), mark);
  const std::size_t size = values.size();
  return to_numpy<bool>(std::move(values), {size});
}

Flows part(const Flows& flows, std::size_t begin, std::size_t end) {
  if (begin > end || end > flows.flows.size()) throw nb::index_error("there are fewer flows");
  return {.profile = flows.profile, .all = flows.all, .flows = flows.flows.subspan(begin, end - begin)};
}

Out<std::int64_t> totals(const Flows& flows) {
  std::vector<std::int64_t> out;
  out.reserve(flows.flows.size() * 4);
  for (const Flow& flow : flows.flows) {
    for (const std::int64_t value : {flow.start, flow.last(), flow.packets(), flow.bytes()}) out.push_back(value);
  }
  return to_numpy<std::int64_t>(std::move(out), {flows.flows.size(), 4});
}

Out<float> numbers(const Flows& flows, const std::vector<std::size_t>& columns) {
  std::vector<float> out;
  {
    const nb::gil_scoped_release release;
    out.reserve(flows.flows.size() * columns.size());
    for (const Flow& flow : flows.flows) append_numbers(out, flow, flows.profile, columns);
  }
  return to_numpy<float>(std::move(out), {flows.flows.size(), columns.size()});
}

std::pair<nb::bytes, Out<std::int64_t>> cells(const Flows& flows, const std::vector<std::size_t>& columns) {
  std::string out;
  std::vector<std::int64_t> ends;
  {
    const nb::gil_scoped_release release;
    ends.reserve(flows.flows.size() * columns.size() * 2);
    for (const Flow& flow : flows.flows) {
      append_cells(out, ends, flow, flows.profile, columns);
      out += '\n';
    }
  }
  return {nb::bytes(out.data(), out.size()),
          to_numpy<std::int64_t>(std::move(ends), {flows.flows.size(), columns.size(), 2})};
}

}  // namespace

void bind_meter(nb::module_& m) {
  nb::class_<Flows>(m, "Flows")
      .def("__len__", [](const Flows& flows) { return flows.flows.size(); })
      .def_prop_ro(
          "early", [](const Flows& flows) { return marks(flows, [](const Flow& f) { return f.is_early; }); },
          nb::rv_policy::move)
      .def_prop_ro(
          "lone", [](const Flows& flows) { return marks(flows, [](const Flow& f) { return f.packets() == 1; }); },
          nb::rv_policy::move)
      .def("part", part, "begin"_a, "end"_a)
      .def("text", text, "zone"_a, "changes"_a = std::vector<std::pair<std::int64_t, std::int64_t>>())
      .def("totals", totals)
      .def("numbers", numbers, "columns"_a)
      .def("cells", cells, "columns"_a)
      .def_prop_ro("of_ip6", [](const Flows& flows) {
        return std::ranges::count_if(flows.flows, [](const Flow& flow) { return flow.version == 6 && !flow.is_early; });
      });
  nb::class_<Ring>(m, "Ring").def(nb::init<int, std::size_t, std::size_t, std::uint32_t>(), "socket"_a, "block_bytes"_a,
                                  "blocks"_a, "link"_a);
  nb::class_<PyMeter>(m, "Meter")
      .def(nb::init<const std::string&, std::int64_t, bool, std::size_t, std::uint64_t, bool, std::uint32_t,
                    std::int64_t, std::size_t>(),
           "profile"_a, "timeout"_a, "strict"_a, "max_flows"_a, "seed"_a, "lone"_a = false, "after_packets"_a = 0,
           "after_time"_a = 0, "threads"_a = 1)
      .def("feed", &PyMeter::feed, "bytes"_a)
      .def(
          "expire", [](PyMeter& self, std::int64_t now) { self.meter_.expire(now); }, "now"_a)
      .def("capture", &PyMeter::capture, "ring"_a, "milliseconds"_a, "now"_a, "step_before"_a, "step"_a)
      .def("finish", [](PyMeter& self) { self.meter_.finish(); })
      .def("take", &PyMeter::take, "clock_step"_a = 0)
      .def_prop_ro("open", [](const PyMeter& self) { return self.meter_.open_flows(); })
      .def_prop_ro("ended", [](const PyMeter& self) { return self.meter_.ended(); })
      .def_prop_ro("problem", [](const PyMeter& self) { return self.meter_.capture().problem(); })
      .def_prop_ro("packets", [](const PyMeter& self) { return self.meter_.frames(); })
      .def_prop_ro("skipped", &PyMeter::skipped)
      .def_prop_ro("lone", [](const PyMeter& self) { return self.meter_.lone(); })
      .def_prop_ro("evicted", [](const PyMeter& self) { return self.meter_.evicted(); });
  m.def("meter_profiles", [] {
    std::vector<std::string> names;
    for (const Profile& profile : profiles) names.emplace_back(profile.name);
    return names;
  });
  m.def(
      "meter_columns",
      [](const std::string& profile) {
        // The names of all columns by their numbers.
        std::vector<std::string> names;
        std::stringstream text(header(profile_of(profile)));
        for (std::string name; std::getline(text, name, ',');) names.push_back(name);
        names.back().pop_back();
        names.insert(names.end(), own_column_names.begin(), own_column_names.end());
        return names;
      },
      "profile"_a);
  m.def("meter_timeout", [](const std::string& profile) { return profile_of(profile).timeout; }, "profile"_a);
  m.def("meter_is_proven", [](const std::string& profile) { return profile_of(profile).is_proven; }, "profile"_a);
  m.def("meter_header", [](const std::string& profile) { return header(profile_of(profile)); }, "profile"_a);
}
