// Products, transforms and table sums on vectors of one instruction set. Every output is summed in one order, whatever
// flows are computed with it, so an answer depends on neither block size nor threads.
#include "kernels/isa.hpp"
#include "kernels/simd.hpp"

namespace etcc::ETCC_ISA {
namespace {

// Depth of a panel that is multiplied in one go: with its columns it fits into the first-level cache.
constexpr std::size_t chunk_depth = 128;

// Positions that are multiplied together, of one flow or several.
struct Tile {
  const float* in[tile_positions];
  float* out[tile_positions];
};

// P positions × V vectors of sums stay in registers over the depth.
template <int P, int V>
void multiply_tile(const Tile& tile, const float* weight, std::size_t depth, const float* bias, bool first, bool last,
                   std::size_t pool, bool rectify) {
  Vec sum[P][V];
  ETCC_UNROLL
  for (int i = 0; i < P; ++i) {
    ETCC_UNROLL
    for (int v = 0; v < V; ++v) sum[i][v] = load((first ? bias : tile.out[i]) + v * lanes);
  }
  const float* in[P];
  ETCC_UNROLL
  for (int i = 0; i < P; ++i) in[i] = tile.in[i];
  for (std::size_t k = 0; k < depth; ++k, weight += V * lanes) {
    Vec w[V];
    ETCC_UNROLL
    for (int v = 0; v < V; ++v) w[v] = load(weight + v * lanes);
    ETCC_UNROLL
    for (int i = 0; i < P; ++i) {
      const float value = in[i][k];
      ETCC_UNROLL
      for (int v = 0; v < V; ++v) sum[i][v] += value * w[v];
    }
  }
  if (last && rectify) {
    ETCC_UNROLL
    for (int i = 0; i < P; ++i) {
      ETCC_UNROLL
      for (int v = 0; v < V; ++v) sum[i][v] = relu(sum[i][v]);
    }
  }
  std::size_t pooled = 0;
  ETCC_UNROLL
  for (int i = 0; i < P; ++i) {
    if (i > 0 && pooled > 0) {
      ETCC_UNROLL
      for (int v = 0; v < V; ++v) sum[i][v] = larger(sum[i - 1][v], sum[i][v]);
    }
    if (++pooled < pool) continue;
    pooled = 0;
    ETCC_UNROLL
    for (int v = 0; v < V; ++v) store(tile.out[i] + v * lanes, sum[i][v]);
  }
}

using TileKernel = void (*)(const Tile&, const float*, std::size_t, const float*, bool, bool, std::size_t, bool);

template <int V>
constexpr TileKernel tile_kernels_of[tile_positions] = {multiply_tile<1, V>, multiply_tile<2, V>, multiply_tile<3, V>,
                                                        multiply_tile<4, V>, multiply_tile<5, V>, multiply_tile<6, V>};

// For 1 … tile_positions positions.
const TileKernel* tile_kernels(std::size_t vectors) {
  if constexpr (panel_vectors > 2) {
    if (vectors == 4) return tile_kernels_of<4>;
    if (vectors == 3) return tile_kernels_of<3>;
  }
  return vectors == 2 ? tile_kernels_of<2> : tile_kernels_of<1>;
}

// One position alone waits for the weights to arrive, so those that meet a zero, as half do after a ReLU, are left
// where they are. A sum stays the same when 0 · weight is not added to it. `nonzero` are the places of the other
// values.
template <int V>
void multiply_nonzero(const Product& p, const float* in, const float* weight, const std::uint8_t* nonzero,
                      std::size_t count, std::size_t column, bool first, bool last) {
  float* out = p.out + column;
  Vec sum[V];
  ETCC_UNROLL
  for (int v = 0; v < V; ++v) sum[v] = load((first ? p.bias + column : out) + v * lanes);
  for (std::size_t i = 0; i < count; ++i) {
    const float value = in[nonzero[i]];
    const float* weights = weight + static_cast<std::size_t>(nonzero[i] * V) * lanes;
    ETCC_UNROLL
    for (int v = 0; v < V; ++v) sum[v] += value * load(weights + v * lanes);
  }
  ETCC_UNROLL
  for (int v = 0; v < V; ++v) store(out + v * lanes, last && p.relu ? relu(sum[v]) : sum[v]);
}

void multiply_one(const Product& p) {
  static_assert(chunk_depth <= 256);
  for (std::size_t k = 0; k < p.depth; k += chunk_depth) {
    const std::size_t depth = p.depth - k < chunk_depth ? p.depth - k : chunk_depth;
    std::uint8_t nonzero[chunk_depth];
    std::size_t count = 0;
    for (std::size_t i = 0; i < depth; ++i) {
      nonzero[count] = static_cast<std::uint8_t>(i);
      count += p.in[k + i] != 0 ? 1 : 0;
    }
    for (std::size_t column = 0; column < p.width; column += panel_vectors * lanes) {
      const std::size_t vectors_left = (p.width - column) / lanes;
      const std::size_t vectors = vectors_left < panel_vectors ? vectors_left : panel_vectors;
      const float* weight = p.packed + column * p.depth + k * vectors * lanes;
      const auto run = [&]<int V>() {
        multiply_nonzero<V>(p, p.in + k, weight, nonzero, count, column, k == 0, k + depth == p.depth);
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
  if (p.skip_zeros && p.flows * p.positions == 1) return multiply_one(p);
  const std::size_t max_count = tile_positions / p.pool * p.pool;
  const std::size_t total = p.flows * p.positions;
  const std::size_t max_depth = p.pool > 1 ? p.depth : chunk_depth;  // a pooled output has no room for parts of sums
  for (std::size_t column = 0; column < p.width; column += panel_vectors * lanes) {
    const std::size_t vectors = p.width - column < panel_vectors * lanes ? (p.width - column) / lanes : panel_vectors;
    const TileKernel* kernels = tile_kernels(vectors);
    const float* panel = p.packed + column * p.depth;
    for (std::size_t k = 0; k < p.depth; k += max_depth) {
      const std::size_t depth = p.depth - k < max_depth ? p.depth - k : max_depth;
      const float* in = p.in + k;
      float* out = p.out + column;
      std::size_t position = 0;
      for (std::size_t done = 0; done < total;) {
        const std::size_t count = total - done < max_count ? total - done : max_count;
        Tile tile;
        for (std::size_t i = 0; i < count; ++i) {
          tile.in[i] = in + position * p.position_stride;
          tile.out[i] = out + position / p.pool * p.width;
          if (++position == p.positions) {
            position = 0;
            in += p.flow_stride;
            out += p.out_stride;
          }
        }
        kernels[count - 1](tile, panel + k * vectors * lanes, depth, p.bias + column, k == 0, k + depth == p.depth,
                           p.pool, p.relu);
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
    const float* in = p.in + i * p.flow_stride;
    const float* weight = p.weight + first * p.depth;
    Vec even[C] = {};
    Vec odd[C] = {};
    std::size_t k = 0;
    for (; k + 2 * lanes <= whole; k += 2 * lanes) {
      const Vec a = load(in + k);
      const Vec b = load(in + k + lanes);
      ETCC_UNROLL
      for (int c = 0; c < C; ++c) {
        even[c] += a * load(weight + static_cast<std::size_t>(c) * p.depth + k);
        odd[c] += b * load(weight + static_cast<std::size_t>(c) * p.depth + k + lanes);
      }
    }
    for (; k < whole; k += lanes) {
      ETCC_UNROLL
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

// F(3, 3) with the points 0, 1, -1, 2 and infinity. The weights carry the fractions.
void winograd_in(const WinogradIn& p) {
  const std::size_t plane = p.flows * p.tiles * p.channels;
  const Vec zero{};
  for (std::size_t i = 0; i < p.flows; ++i) {
    for (std::size_t t = 0; t < p.tiles; ++t) {
      const float* in = p.in + i * p.flow_stride + 3 * t * p.channels;
      const std::size_t positions_left = p.positions - 3 * t;
      float* out = p.out + (i * p.tiles + t) * p.channels;
      for (std::size_t c = 0; c < p.channels; c += lanes) {
        const auto at = [&](std::size_t position) {
          return position < positions_left ? load(in + position * p.channels + c) : zero;
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
      std::size_t position = 0;
      std::size_t pooled = 0;
      Vec best{};
      for (std::size_t t = 0; t < p.tiles && position < p.positions; ++t) {
        const float* tile = in + t * p.width + c;
        const Vec m0 = load(tile), m1 = load(tile + plane), m2 = load(tile + 2 * plane), m3 = load(tile + 3 * plane);
        const Vec m4 = load(tile + 4 * plane);
        const Vec y[3] = {m0 + m1 + m2 + m3 + bias, (m1 - m2) + 2.0F * m3 + bias, m1 + m2 + 4.0F * m3 + m4 + bias};
        for (std::size_t k = 0; k < 3 && position < p.positions; ++k, ++position) {
          const Vec value = p.relu ? relu(y[k]) : y[k];
          best = pooled ? larger(best, value) : value;
          if (++pooled < p.pool) continue;
          pooled = 0;
          store(out + position / p.pool * p.width + c, best);
        }
      }
    }
  }
}

// A few columns at a time, so that their tables stay in the first-level cache while the block's flows go by.
template <int V>
void lookup_vectors(const Lookup& p, std::size_t at) {
  constexpr std::size_t columns_per_pass = 4;
  for (std::size_t c = 0; c < p.columns; c += columns_per_pass) {
    const std::size_t end = c + columns_per_pass < p.columns ? c + columns_per_pass : p.columns;
    const bool last = end == p.columns;
    for (std::size_t i = 0; i < p.flows; ++i) {
      float* out = p.out + i * p.width + at;
      Vec sum[V];
      ETCC_UNROLL
      for (int v = 0; v < V; ++v) sum[v] = load((c == 0 ? p.bias + at : out) + v * lanes);
      for (std::size_t k = c; k < end; ++k) {
        const float fraction = p.fraction[k * p.stride + i];
        const float rest = 1.0F - fraction;
        const float* row = p.table + static_cast<std::size_t>(p.table_row[k * p.stride + i]) * p.width + at;
        ETCC_UNROLL
        for (int v = 0; v < V; ++v) {
          sum[v] += rest * load(row + v * lanes);
          sum[v] += fraction * load(row + p.width + v * lanes);
        }
      }
      ETCC_UNROLL
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

constexpr int spin_sums = 12;  // enough to hide the latency of a multiply-add

float spin(std::size_t rounds) {
  const Vec factor = Vec{} + 0.999F;
  Vec sum[spin_sums];
  for (int k = 0; k < spin_sums; ++k) sum[k] = Vec{} + static_cast<float>(k);
  for (std::size_t i = 0; i < rounds; ++i) {
    ETCC_UNROLL
    for (int k = 0; k < spin_sums; ++k) sum[k] = sum[k] * factor + factor;
  }
  Vec all{};
  for (int k = 0; k < spin_sums; ++k) all += sum[k];
  return all[0];
}

}  // namespace

void fill_network_kernels(Kernels& kernels) {
  kernels.lanes = lanes;
  kernels.panel = panel_vectors * lanes;
  kernels.tile = tile_positions;
  kernels.multiply = multiply;
  kernels.dot = dot;
  kernels.winograd_in = winograd_in;
  kernels.winograd_out = winograd_out;
  kernels.lookup = lookup;
  kernels.spin = spin;
  kernels.peak = spin_sums * lanes;
}

}  // namespace etcc::ETCC_ISA
