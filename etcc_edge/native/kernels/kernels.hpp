// The inner loops, compiled once for each instruction set; `kernels` picks one at run time.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace etcc {

enum class Operation : std::uint8_t { none, multiply, divide, subtract };

// What a column reads of a row: the feature `source`, or it and the feature `second` joined by an operation, which
// rounds once to float32; NaN where the result is not finite.
struct Reading {
  Operation operation = Operation::none;
  std::size_t source = 0;
  std::size_t second = 0;
  auto operator<=>(const Reading&) const = default;
};

// A value's map: y[k] + (v - x[k]) * slope[k] from the knot x[k] on, y at the ends beyond. With tents, the result is a
// place between rows of a table.
struct Column {
  const float* x;
  const float* y;  // one more than knots
  const float* slope;
  const std::int32_t* table_rows;  // the row of place 0 after each knot; null: `table_row` after all
  std::size_t count;               // of knots, at least one
  Reading reads;
  std::int32_t table_row;
  std::int32_t missing_row;  // NaN becomes the place `missing` in this row of the table
  float missing;
};

// out = in × packed + bias at `positions` positions of each of `flows` flows. A flow's input starts `flow_stride`
// floats after the one before, a position's `position_stride` floats after that of the position before, and is `depth`
// floats long: with position_stride < depth they overlap, which makes it a convolution.
struct Product {
  const float* in = nullptr;
  std::size_t flows = 0;
  std::size_t flow_stride;
  std::size_t positions, position_stride;
  std::size_t depth;
  const float* packed;   // panels of kernels' `panel` columns (the last may have fewer), each [depth][columns]
  const float* bias;     // `width` floats
  std::size_t width;     // columns, a multiple of `lanes`
  float* out = nullptr;  // [flows][positions / pool][width], flows `out_stride` floats apart
  std::size_t out_stride;
  std::size_t pool = 1;  // the largest of this many positions in turn, at most `tile`; divides `positions`
  bool relu = false;
  bool skip_zeros = false;  // allows to leave out the weights that meet a zero: they must be finite, and `pool` 1
};

// As above for one position a flow and few columns: weights [classes][depth], out [flows][classes].
struct Dot {
  const float* in;
  std::size_t flows, flow_stride;
  std::size_t depth;
  const float* weight;
  const float* bias;
  std::size_t classes;
  float* out;
};

// Codes of 8 bits are 0 … max_code for activations, -max_code … max_code for weights.
inline constexpr int max_code = 127;

// A flow's floats, none below 0, as codes times the flow's own scale. What is no number makes the scale one.
struct Quantize {
  const float* in;
  std::size_t flows, size;  // floats a flow, a multiple of `lanes`
  std::uint8_t* out;
  float* scale;  // a flow
};

// As `Product` over such codes.
struct Product8 {
  const std::uint8_t* in = nullptr;
  const float* scale = nullptr;  // a flow
  std::size_t flows = 0;
  std::size_t flow_stride;
  std::size_t positions, position_stride;
  std::size_t depth;          // a multiple of 4
  const std::int8_t* packed;  // panels, each [depth / 4][columns][4]
  const float* weight_scale;  // a column
  const float* bias;
  std::size_t width;
  float* out = nullptr;
  std::size_t out_stride;
  std::size_t pool = 1;
  bool relu = false;
};

// Winograd's form of a convolution with three taps, stride 1: `winograd_in` transforms the input of [flows][positions]
// [channels] into five planes of [flows][tiles][channels], three outputs a tile; `winograd_out` brings five planes of
// products [flows][tiles][width] back to [flows][positions / pool][width].
struct WinogradIn {
  const float* in;
  std::size_t flows, flow_stride;
  std::size_t positions, channels, tiles;
  float* out;
};
struct WinogradOut {
  const float* in;
  std::size_t flows, tiles;
  std::size_t positions, width;
  const float* bias;
  float* out;
  std::size_t out_stride;
  std::size_t pool;
  bool relu;
};

// Sums over tables: out[i] = bias + Σ_c (1 - fraction[c][i]) · table[table_row[c][i]] + fraction[c][i] · the row after.
struct Lookup {
  const float* table;
  std::size_t width;  // floats a row, a multiple of `lanes`
  const float* bias;
  const std::int32_t* table_row;  // [columns][stride]
  const float* fraction;
  std::size_t columns, stride;
  std::size_t flows;
  float* out;  // [flows][width]
  bool relu;
};

// A column of numbers in a text table.
struct NumberColumn {
  std::size_t index;  // of the cell in its row
  double factor;      // to the canonical unit
};

inline constexpr std::size_t cell_slack = 72;  // starts that `find_cells` may write beyond those that are wanted

struct Kernels {
  const char* name;
  std::size_t lanes;  // floats a vector
  std::size_t panel;  // columns of a packed panel, a multiple of `lanes`
  std::size_t tile;   // positions in registers
  std::size_t peak;   // multiply-adds of a round of `spin`
  void (*multiply)(const Product&);
  void (*dot)(const Dot&);
  void (*quantize)(const Quantize&);  // null, as the next, where 8 bits are not faster
  void (*multiply8)(const Product8&);
  void (*winograd_in)(const WinogradIn&);
  void (*winograd_out)(const WinogradOut&);
  void (*lookup)(const Lookup&);
  float (*spin)(std::size_t rounds);  // nothing but multiply-adds that stay in registers, for measuring their peak

  // Scaled values [n][count] of the raw rows `index` (row-major, `features` wide), at most y[k + 1] after the knot k.
  void (*scale)(const Column* columns, std::size_t count, const float* raw, std::size_t features,
                const std::int64_t* index, std::size_t n, float* out);
  // The same as places between rows of a table with `bins` bins: the row, and the fraction of the way to the next;
  // both [count][stride], the stride a multiple of 64 and at least n.
  void (*locate)(const Column* columns, std::size_t count, const float* raw, std::size_t features,
                 const std::int64_t* index, std::size_t n, float bins, std::int32_t* table_row, float* fraction,
                 std::size_t stride);

  // The number of cells of a line without quotes and of less than 4 GiB. starts[i] becomes the offset of cell i, for
  // the first `wanted` cells of the line and the one after them (the line's end counts as a comma); it has room for
  // `wanted` + `cell_slack`. Bytes up to `readable_end` may be read.
  std::size_t (*find_cells)(const char* line, std::size_t size, const char* readable_end, std::size_t wanted,
                            std::uint32_t* starts);
  // The columns' values in such a line, where the cell is a plain decimal number that fits float32. The places of
  // all other columns go to `others`, which has room for one more than columns; returns how many.
  std::size_t (*read_numbers)(const char* line, const std::uint32_t* starts, const NumberColumn* columns,
                              std::size_t count, const char* readable_end, float* values, std::uint32_t* others);
};

// Names of the instruction sets that this CPU can run, the fastest first; the last, "portable", runs anywhere.
std::vector<std::string_view> instruction_sets();

// The kernels of one of them, of the fastest for "". Throws std::invalid_argument for another name.
const Kernels& kernels(std::string_view instruction_set);

}  // namespace etcc
