// The inner loops, compiled once an instruction set; `kernels` picks one at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace etcc {

// A raw feature's map: y[k] + (v - x[k]) * slope[k] from the knot x[k] on, y at the ends beyond. With tents, the
// result is a place between rows of a table.
struct Column {
  const float* x;
  const float* y;  // one more than knots
  const float* slope;
  const std::int32_t* rows;  // the table's row of place 0 after each knot; null: `row` after all
  std::size_t count;         // of knots, at least one
  std::size_t source;        // the feature that it reads
  std::int32_t row;
  std::int32_t missing_row;  // NaN becomes the place `missing` in this row
  float missing;
};

// out = in × packed + bias over `flows` flows of `rows` rows each. Row r of a flow starts `step` floats after row
// r - 1 and is `depth` floats long: with step < depth the rows overlap, which makes it a convolution.
struct Product {
  const float* in;
  std::size_t flows, in_stride, rows, step, depth;
  const float* packed;  // panels of kernels' `panel` columns (the last may have fewer), each [depth][columns]
  const float* bias;    // `width` floats
  std::size_t width;    // columns, a multiple of `lanes`
  float* out;           // [flows][rows / pool][width], flows `out_stride` floats apart
  std::size_t out_stride;
  std::size_t pool;  // the largest of this many rows in turn, at most `tile`; divides `rows`
  bool relu;
  bool skip_zeros;  // allows to leave out the weights that meet a zero: they must be finite, and `pool` 1
};

// As above for one row a flow and few columns: weights [classes][depth], out [flows][classes].
struct Dot {
  const float* in;
  std::size_t flows, in_stride, depth;
  const float* weight;
  const float* bias;
  std::size_t classes;
  float* out;
};

// A flow's floats, none below 0, as codes 0 … 127 times the flow's own scale. What is no number makes the scale one.
struct Quantize {
  const float* in;
  std::size_t flows, size;  // floats a flow, a multiple of `lanes`
  std::uint8_t* out;
  float* scale;  // a flow
};

// As `Product` over such codes, with weights -127 … 127.
struct Product8 {
  const std::uint8_t* in;
  const float* scale;                               // a flow
  std::size_t flows, in_stride, rows, step, depth;  // depth is a multiple of 4
  const std::int8_t* packed;                        // panels, each [depth / 4][columns][4]
  const float* weight_scale;                        // a column
  const float* bias;
  std::size_t width;
  float* out;
  std::size_t out_stride, pool;
  bool relu;
};

// Winograd's form of a convolution with three taps, stride 1: `winograd_in` transforms the input of [flows][positions]
// [channels] into five planes of [flows][tiles][channels], three outputs a tile; `winograd_out` brings five planes of
// products [flows][tiles][width] back to [flows][rows / pool][width].
struct WinogradIn {
  const float* in;
  std::size_t flows, in_stride, positions, channels, tiles;
  float* out;
};
struct WinogradOut {
  const float* in;
  std::size_t flows, tiles, rows, width;
  const float* bias;
  float* out;
  std::size_t out_stride;
  std::size_t pool;
  bool relu;
};

// Sums over tables: out[i] = bias + Σ_c (1 - fraction[c][i]) · table[row[c][i]] + fraction[c][i] · the row after it.
struct Lookup {
  const float* table;
  std::size_t width;  // floats a row, a multiple of `lanes`
  const float* bias;
  const std::int32_t* row;  // [columns][stride]
  const float* fraction;
  std::size_t columns, stride, flows;
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
  std::size_t tile;   // rows in registers
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
  // The same as places between rows of a table with `bins` bins: its row, and the fraction of the way to the next;
  // both [count][stride], the stride a multiple of 64 and at least n.
  void (*locate)(const Column* columns, std::size_t count, const float* raw, std::size_t features,
                 const std::int64_t* index, std::size_t n, float bins, std::int32_t* row, float* fraction,
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
