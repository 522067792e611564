// Products, transforms and table sums on vectors of one instruction set. Every output is summed in one order, whatever
// rows are computed with it, so an answer depends on neither block size nor threads.
#include "kernels/isa.hpp"
#include "kernels/simd.hpp"

namespace etcc::ETCC_ISA {
namespace {

// Depth of a panel that is multiplied in one go: with its columns it fits into the first-level cache.
constexpr std::size_t chunk = 128;

struct Rows {  // of one tile
  const float* in[tile_rows];
  float* out[tile_rows];
};

// `Rows` × `Vectors` vectors of sums stay in registers over the depth.
template <int R, int V>
void multiply_tile(const Rows& rows, const float* weight, std::size_t depth, const float* bias, bool first, bool last,
                   std::size_t pool, bool rectify) {
  Vec sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[r][v] = load((first ? bias : rows.out[r]) + v * lanes);
  }
  const float* in[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) in[r] = rows.in[r];
  for (std::size_t k = 0; k < depth; ++k, weight += V * lanes) {
    Vec w[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) w[v] = load(weight + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const float value = in[r][k];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] += value * w[v];
    }
  }
  if (last && rectify) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] = relu(sum[r][v]);
    }
  }
  std::size_t pooled = 0;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    if (r > 0 && pooled > 0) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] = larger(sum[r - 1][v], sum[r][v]);
    }
    if (++pooled < pool) continue;
    pooled = 0;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(rows.out[r] + v * lanes, sum[r][v]);
  }
}

using Tile = void (*)(const Rows&, const float*, std::size_t, const float*, bool, bool, std::size_t, bool);

template <int V>
constexpr Tile tiles_of[tile_rows] = {multiply_tile<1, V>, multiply_tile<2, V>, multiply_tile<3, V>,
                                      multiply_tile<4, V>, multiply_tile<5, V>, multiply_tile<6, V>};

const Tile* tiles(std::size_t vectors) {
  if constexpr (panel_vectors > 2) {
    if (vectors == 4) return tiles_of<4>;
    if (vectors == 3) return tiles_of<3>;
  }
  return vectors == 2 ? tiles_of<2> : tiles_of<1>;
}

// One row alone waits for the weights to arrive, so those that meet a zero, as half do after a ReLU, are left where
// they are. A sum stays the same when 0 · weight is not added to it.
template <int V>
void multiply_rest(const Product& p, const float* in, const float* weight, const std::uint8_t* at, std::size_t count,
                   std::size_t column, bool first, bool last) {
  float* out = p.out + column;
  Vec sum[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) sum[v] = load((first ? p.bias + column : out) + v * lanes);
  for (std::size_t i = 0; i < count; ++i) {
    const float value = in[at[i]];
    const float* row = weight + at[i] * V * lanes;
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[v] += value * load(row + v * lanes);
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) store(out + v * lanes, last && p.relu ? relu(sum[v]) : sum[v]);
}

void multiply_one(const Product& p) {
  static_assert(chunk <= 256);
  for (std::size_t k = 0; k < p.depth; k += chunk) {
    const std::size_t depth = p.depth - k < chunk ? p.depth - k : chunk;
    std::uint8_t at[chunk];
    std::size_t count = 0;
    for (std::size_t i = 0; i < depth; ++i) {
      at[count] = static_cast<std::uint8_t>(i);
      count += p.in[k + i] != 0 ? 1 : 0;
    }
    for (std::size_t column = 0; column < p.width; column += panel_vectors * lanes) {
      const std::size_t left = (p.width - column) / lanes;
      const std::size_t vectors = left < panel_vectors ? left : panel_vectors;
      const float* weight = p.packed + column * p.depth + k * vectors * lanes;
      const auto run = [&]<int V>() {
        multiply_rest<V>(p, p.in + k, weight, at, count, column, k == 0, k + depth == p.depth);
      };
      if constexpr (panel_vectors > 2) {
        if (vectors == 4) run.template operator()<4>();
        if (vectors == 3) run.template operator()<3>();
      }
      if (vectors == 2) run.template operator()<2>();
      if (vectors == 1) run.template operator()<1>();
    }
  }
}

void multiply(const Product& p) {
  if (p.skip_zeros && p.flows * p.rows == 1) return multiply_one(p);
  const std::size_t full = tile_rows / p.pool * p.pool;
  const std::size_t total = p.flows * p.rows;
  const std::size_t step = p.pool > 1 ? p.depth : chunk;  // a pooled output has no room for parts of sums
  for (std::size_t column = 0; column < p.width; column += panel_vectors * lanes) {
    const std::size_t vectors = p.width - column < panel_vectors * lanes ? (p.width - column) / lanes : panel_vectors;
    const Tile* tile = tiles(vectors);
    const float* panel = p.packed + column * p.depth;
    for (std::size_t k = 0; k < p.depth; k += step) {
      const std::size_t depth = p.depth - k < step ? p.depth - k : step;
      const float* in = p.in + k;
      float* out = p.out + column;
      std::size_t row = 0;
      for (std::size_t done = 0; done < total;) {
        const std::size_t count = total - done < full ? total - done : full;
        Rows rows;
        for (std::size_t r = 0; r < count; ++r) {
          rows.in[r] = in + row * p.step;
          rows.out[r] = out + row / p.pool * p.width;
          if (++row == p.rows) {
            row = 0;
            in += p.in_stride;
            out += p.out_stride;
          }
        }
        tile[count - 1](rows, panel + k * vectors * lanes, depth, p.bias + column, k == 0, k + depth == p.depth, p.pool,
                        p.relu);
        done += count;
      }
    }
  }
}

// Vectors run along the depth; what is left of it is added one by one.
template <int C>
void dot_classes(const Dot& p, std::size_t first) {
  const std::size_t whole = p.depth / lanes * lanes;
  for (std::size_t i = 0; i < p.flows; ++i) {
    const float* in = p.in + i * p.in_stride;
    const float* weight = p.weight + first * p.depth;
    Vec even[C] = {};
    Vec odd[C] = {};
    std::size_t k = 0;
    for (; k + 2 * lanes <= whole; k += 2 * lanes) {
      const Vec a = load(in + k);
      const Vec b = load(in + k + lanes);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        even[c] += a * load(weight + static_cast<std::size_t>(c) * p.depth + k);
        odd[c] += b * load(weight + static_cast<std::size_t>(c) * p.depth + k + lanes);
      }
    }
    for (; k < whole; k += lanes) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) even[c] += load(in + k) * load(weight + static_cast<std::size_t>(c) * p.depth + k);
    }
    for (int c = 0; c < C; ++c) {
      const Vec both = even[c] + odd[c];
      float part[lanes];
      for (std::size_t l = 0; l < lanes; ++l) part[l] = both[l];
      for (std::size_t half = lanes / 2; half > 0; half /= 2) {
        for (std::size_t l = 0; l < half; ++l) part[l] += part[l + half];
      }
      float sum = p.bias[first + static_cast<std::size_t>(c)] + part[0];
      for (std::size_t t = whole; t < p.depth; ++t) sum += in[t] * weight[static_cast<std::size_t>(c) * p.depth + t];
      p.out[i * p.classes + first + static_cast<std::size_t>(c)] = sum;
    }
  }
}

void dot(const Dot& p) {
  std::size_t first = 0;
  for (; first + 4 <= p.classes; first += 4) dot_classes<4>(p, first);
  switch (p.classes - first) {
    case 3: dot_classes<3>(p, first); break;
    case 2: dot_classes<2>(p, first); break;
    case 1: dot_classes<1>(p, first); break;
    default: break;
  }
}

// F(3, 3) with the points 0, 1, -1, 2 and infinity. The weights carry the fractions, see `winograd_weights`.
void winograd_in(const WinogradIn& p) {
  const std::size_t plane = p.flows * p.tiles * p.channels;
  const Vec zero{};
  for (std::size_t i = 0; i < p.flows; ++i) {
    for (std::size_t t = 0; t < p.tiles; ++t) {
      const float* in = p.in + i * p.in_stride + 3 * t * p.channels;
      const std::size_t left = p.positions - 3 * t;
      float* out = p.out + (i * p.tiles + t) * p.channels;
      for (std::size_t c = 0; c < p.channels; c += lanes) {
        const auto at = [&](std::size_t position) {
          return position < left ? load(in + position * p.channels + c) : zero;
        };
        const Vec d0 = at(0), d1 = at(1), d2 = at(2), d3 = at(3), d4 = at(4);
        store(out + c, 2.0F * (d0 - d2) + (d3 - d1));
        store(out + plane + c, (d3 - d2) - 2.0F * d1);
        store(out + 2 * plane + c, 2.0F * d1 - 3.0F * d2 + d3);
        store(out + 3 * plane + c, d3 - d1);
        store(out + 4 * plane + c, 2.0F * (d1 - d3) + (d4 - d2));
      }
    }
  }
}

void winograd_out(const WinogradOut& p) {
  const std::size_t plane = p.flows * p.tiles * p.width;
  for (std::size_t i = 0; i < p.flows; ++i) {
    const float* in = p.in + i * p.tiles * p.width;
    float* out = p.out + i * p.out_stride;
    for (std::size_t c = 0; c < p.width; c += lanes) {
      const Vec bias = load(p.bias + c);
      std::size_t row = 0;
      std::size_t pooled = 0;
      Vec best{};
      for (std::size_t t = 0; t < p.tiles && row < p.rows; ++t) {
        const float* tile = in + t * p.width + c;
        const Vec m0 = load(tile), m1 = load(tile + plane), m2 = load(tile + 2 * plane), m3 = load(tile + 3 * plane);
        const Vec m4 = load(tile + 4 * plane);
        const Vec y[3] = {m0 + m1 + m2 + m3 + bias, (m1 - m2) + 2.0F * m3 + bias, m1 + m2 + 4.0F * m3 + m4 + bias};
        for (std::size_t k = 0; k < 3 && row < p.rows; ++k, ++row) {
          const Vec value = p.relu ? relu(y[k]) : y[k];
          best = pooled ? larger(best, value) : value;
          if (++pooled < p.pool) continue;
          pooled = 0;
          store(out + row / p.pool * p.width + c, best);
        }
      }
    }
  }
}

// A few columns at a time, so that their tables stay in the first-level cache while the block's flows go by.
template <int V>
void lookup_vectors(const Lookup& p, std::size_t at) {
  constexpr std::size_t group = 4;
  for (std::size_t c = 0; c < p.columns; c += group) {
    const std::size_t end = c + group < p.columns ? c + group : p.columns;
    const bool last = end == p.columns;
    for (std::size_t i = 0; i < p.flows; ++i) {
      float* out = p.out + i * p.width + at;
      Vec sum[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[v] = load((c == 0 ? p.bias + at : out) + v * lanes);
      for (std::size_t k = c; k < end; ++k) {
        const float fraction = p.fraction[k * p.stride + i];
        const float rest = 1.0F - fraction;
        const float* row = p.table + static_cast<std::size_t>(p.row[k * p.stride + i]) * p.width + at;
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
          sum[v] += rest * load(row + v * lanes);
          sum[v] += fraction * load(row + p.width + v * lanes);
        }
      }
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) store(out + v * lanes, last && p.relu ? relu(sum[v]) : sum[v]);
    }
  }
}

void lookup(const Lookup& p) {
  std::size_t at = 0;
  for (; at + 5 * lanes <= p.width; at += 5 * lanes) lookup_vectors<5>(p, at);
  switch ((p.width - at) / lanes) {
    case 4: lookup_vectors<4>(p, at); break;
    case 3: lookup_vectors<3>(p, at); break;
    case 2: lookup_vectors<2>(p, at); break;
    case 1: lookup_vectors<1>(p, at); break;
    default: break;
  }
}

constexpr int spinning = 12;  // sums, enough to hide the latency of a multiply-add

float spin(std::size_t rounds) {
  const Vec factor = Vec{} + 0.999F;
  Vec sum[spinning];
  for (int k = 0; k < spinning; ++k) sum[k] = Vec{} + static_cast<float>(k);
  for (std::size_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int k = 0; k < spinning; ++k) sum[k] = sum[k] * factor + factor;
  }
  Vec all{};
  for (int k = 0; k < spinning; ++k) all += sum[k];
  return all[0];
}

}  // namespace

void fill_network_kernels(Kernels& kernels) {
  kernels.lanes = lanes;
  kernels.panel = panel_vectors * lanes;
  kernels.tile = tile_rows;
  kernels.multiply = multiply;
  kernels.dot = dot;
  kernels.winograd_in = winograd_in;
  kernels.winograd_out = winograd_out;
  kernels.lookup = lookup;
  kernels.spin = spin;
  kernels.peak = spinning * lanes;
}

}  // namespace etcc::ETCC_ISA
