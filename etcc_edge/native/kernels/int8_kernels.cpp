// Products of 8-bit codes. Codes end at 127, so that two products fit into 16 bits: AVX2 adds pairs there, and every
// instruction set can take the same codes. Sums are exact in 32 bits, and nothing is contracted after them, so from
// the same codes every instruction set makes the same floats.
#include <cstring>

#include "kernels/isa.hpp"
#include "kernels/simd.hpp"

#if defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace etcc::ETCC_ISA {
namespace {

// sum[l] += Σ codes[4 l + j] · weights[4 l + j] over j < 4
static inline IntVec dot4(IntVec sum, IntVec codes, IntVec weights) {
#if defined(__AVX512VNNI__)
  const auto sums = _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(codes),
                                        reinterpret_cast<__m512i>(weights));
#elif defined(__AVX512BW__)
  const auto pairs = _mm512_maddubs_epi16(reinterpret_cast<__m512i>(codes), reinterpret_cast<__m512i>(weights));
  const auto sums = _mm512_add_epi32(reinterpret_cast<__m512i>(sum), _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#elif defined(__AVXVNNI__)
  const auto sums = _mm256_dpbusd_avx_epi32(reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(codes),
                                            reinterpret_cast<__m256i>(weights));
#elif defined(__AVX2__)
  const auto pairs = _mm256_maddubs_epi16(reinterpret_cast<__m256i>(codes), reinterpret_cast<__m256i>(weights));
  const auto sums = _mm256_add_epi32(reinterpret_cast<__m256i>(sum), _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#else
  const auto sums = vdotq_s32(reinterpret_cast<int32x4_t>(sum), reinterpret_cast<int8x16_t>(codes),
                              reinterpret_cast<int8x16_t>(weights));
#endif
  return reinterpret_cast<IntVec>(sums);
}

// The lowest byte of each.
static inline void store_codes(std::uint8_t* p, IntVec codes) {
#if defined(__AVX2__) && !defined(__AVX512F__)  // for which GCC takes each lane apart
  const auto bytes = _mm256_shuffle_epi8(reinterpret_cast<__m256i>(codes), _mm256_set1_epi32(0x0c080400));
  const __m128i halves = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
  std::memcpy(p, &halves, lanes);
#else
  typedef std::uint8_t Codes __attribute__((vector_size(lanes), aligned(1), may_alias));
  *reinterpret_cast<Codes*>(p) = __builtin_convertvector(codes, Codes);
#endif
}

void quantize(const Quantize& p) {
  for (std::size_t i = 0; i < p.flows; ++i) {
    const float* in = p.in + i * p.size;
    std::uint8_t* out = p.out + i * p.size;
    // Bits of floats without sign order like the floats; what is no number comes after them all.
    IntVec largest{};
    for (std::size_t k = 0; k < p.size; k += lanes) {
      const IntVec bits = *reinterpret_cast<const IntVec*>(in + k) & 0x7fffffff;
      largest = largest < bits ? bits : largest;
    }
    std::int32_t bits = 0;
    for (std::size_t l = 0; l < lanes; ++l) bits = bits < largest[l] ? largest[l] : bits;
    float range;
    std::memcpy(&range, &bits, sizeof range);
    // Less is taken for 0, as its inverse may be infinite.
    if (range > 1e-30F && is_finite(range)) {
      p.scale[i] = range / max_code;
      const float inverse = max_code / range;
      for (std::size_t k = 0; k < p.size; k += lanes) {
        const IntVec codes = __builtin_convertvector(load(in + k) * inverse + 0.5F, IntVec);
        store_codes(out + k, codes);
      }
    } else {
      std::memset(out, 0, p.size);
      p.scale[i] = range - range;  // 0, or no number
    }
  }
}

// Positions that are multiplied together, of one flow or several.
struct Tile {
  const std::uint8_t* in[tile_positions];
  float scale[tile_positions];  // of the position's flow
  float* out[tile_positions];
};

// P positions × V vectors of sums stay in registers over the depth.
template <int P, int V>
void multiply_tile(const Tile& tile, const Product8& p, std::size_t column) {
  IntVec sum[P][V] = {};
  const std::uint8_t* in[P];
  ETCC_UNROLL
  for (int i = 0; i < P; ++i) in[i] = tile.in[i];
  const std::int8_t* weight = p.packed + column * p.depth;
  for (std::size_t k = 0; k < p.depth; k += 4, weight += V * lanes * 4) {
    IntVec w[V];
    ETCC_UNROLL
    for (int v = 0; v < V; ++v) {
      w[v] = *reinterpret_cast<const IntVec*>(weight + static_cast<std::size_t>(v) * lanes * 4);
    }
    ETCC_UNROLL
    for (int i = 0; i < P; ++i) {
      std::int32_t codes;
      std::memcpy(&codes, in[i] + k, sizeof codes);
      ETCC_UNROLL
      for (int v = 0; v < V; ++v) sum[i][v] = dot4(sum[i][v], IntVec{} + codes, w[v]);
    }
  }
  ETCC_UNROLL
  for (int v = 0; v < V; ++v) {
    const std::size_t at = column + static_cast<std::size_t>(v) * lanes;
    const Vec scale = load(p.weight_scale + at);
    const Vec bias = load(p.bias + at);
    std::size_t pooled = 0;
    Vec best{};
    ETCC_UNROLL
    for (int i = 0; i < P; ++i) {
      Vec value = __builtin_convertvector(sum[i][v], Vec) * (scale * tile.scale[i]) + bias;
      if (p.relu) value = relu(value);
      best = pooled ? larger(best, value) : value;
      if (++pooled < p.pool) continue;
      pooled = 0;
      store(tile.out[i] + at, best);
    }
  }
}

using TileKernel = void (*)(const Tile&, const Product8&, std::size_t);

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

void multiply8(const Product8& p) {
  const std::size_t max_count = tile_positions / p.pool * p.pool;
  const std::size_t total = p.flows * p.positions;
  for (std::size_t column = 0; column < p.width; column += panel_vectors * lanes) {
    const std::size_t vectors_left = (p.width - column) / lanes;
    const TileKernel* kernels = tile_kernels(vectors_left < panel_vectors ? vectors_left : panel_vectors);
    std::size_t flow = 0;
    std::size_t position = 0;
    for (std::size_t done = 0; done < total;) {
      const std::size_t count = total - done < max_count ? total - done : max_count;
      Tile tile;
      for (std::size_t i = 0; i < count; ++i) {
        tile.in[i] = p.in + flow * p.flow_stride + position * p.position_stride;
        tile.scale[i] = p.scale[flow];
        tile.out[i] = p.out + flow * p.out_stride + position / p.pool * p.width;
        if (++position == p.positions) {
          position = 0;
          ++flow;
        }
      }
      kernels[count - 1](tile, p, column);
      done += count;
    }
  }
}

}  // namespace

void fill_int8_kernels(Kernels& kernels) {
  kernels.quantize = quantize;
  kernels.multiply8 = multiply8;
}

}  // namespace etcc::ETCC_ISA
