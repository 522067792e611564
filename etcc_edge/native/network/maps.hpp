// A scaler's maps in the form that the kernels search: alone, or joined with the tents and the first convolution.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/aligned.hpp"
#include "kernels/kernels.hpp"
#include "network/scaler.hpp"

namespace etcc {

// One column an input. Owns what `columns` points to.
class Maps {
 public:
  explicit Maps(const Scaler& scaler);
  Maps(const Maps&) = delete;
  Maps& operator=(const Maps&) = delete;

  std::span<const Column> columns() const { return columns_; }

 private:
  friend class TentTable;
  struct Pieces {
    std::vector<float> x, y, slope;
    std::vector<std::int32_t> table_rows;
  };
  Maps() = default;
  void add(const Scaler::Map& map, std::int32_t table_row);
  void add(Pieces pieces, const Reading& reads, float missing, std::int32_t table_row, std::int32_t missing_row);

  std::vector<Pieces> pieces_;
  std::vector<Column> columns_;
};

// Scaler, tents and a convolution as wide as its input, as one table: the raw features choose rows whose sum, each
// interpolated with the row after it, is the convolution's output without bias.
//
// An input alone has a row a tent. Inputs that read the same become one column: between two of their knots,
// each is constant or not. Where one moves, it has rows of its own to which the others' constant part is already
// added; where several move, there is a row at each place where one passes a tent's tip.
class TentTable {
 public:
  // Whether the table form holds: all scaled values lie in [0, 1].
  static bool fits(const Scaler& scaler);

  // `weight` is [channels][bins + 1][inputs]; a row of the table is `width` floats, zero beyond the channels.
  TentTable(const Scaler& scaler, std::size_t bins, std::span<const float> weight, std::size_t channels,
            std::size_t width);

  std::span<const Column> columns() const { return maps_.columns(); }
  const float* floats() const { return rows_.data(); }  // row after row
  std::size_t width() const { return width_; }

 private:
  using Sum = std::vector<double>;

  void add_alone(const Scaler::Map& map, std::size_t input);
  bool add_joined(const Scaler& scaler, const std::vector<std::size_t>& inputs);
  void add_value(Sum& sum, std::size_t input, double scaled) const;
  std::int32_t push(const Sum& sum);
  std::int32_t push_input(std::size_t input, const Sum& others);

  std::size_t bins_, inputs_, channels_, width_;
  std::span<const float> weight_;  // while the table is built
  Maps maps_;
  Floats rows_;
};

}  // namespace etcc
