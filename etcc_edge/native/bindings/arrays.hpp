// numpy arrays as spans, and vectors as numpy arrays, without a copy.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

template <class T, std::size_t Dimensions>
using In = nanobind::ndarray<const T, nanobind::ndim<Dimensions>, nanobind::c_contig, nanobind::device::cpu>;
template <class T, std::size_t Dimensions>
using InOut = nanobind::ndarray<T, nanobind::ndim<Dimensions>, nanobind::c_contig, nanobind::device::cpu>;
template <class T>
using Out = nanobind::ndarray<nanobind::numpy, T>;

template <class Array>
auto as_span(const Array& array) {
  return std::span(array.data(), array.size());
}

// Hands the memory of a vector or string to numpy. `Element` is the dtype that numpy sees.
template <class Element, class Values>
Out<Element> to_numpy(Values&& values, std::initializer_list<std::size_t> shape) {
  static_assert(std::is_rvalue_reference_v<decltype(values)>);
  auto owned = std::make_unique<Values>(std::forward<Values>(values));
  auto* data = reinterpret_cast<Element*>(owned->data());
  nanobind::capsule owner(owned.get(), [](void* p) noexcept { delete static_cast<Values*>(p); });
  static_cast<void>(owned.release());
  return Out<Element>(data, shape, owner);
}
