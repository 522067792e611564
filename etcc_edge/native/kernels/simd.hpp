// What differs between instruction sets. Included only by the kernel files, which are compiled once for each: they
// define nothing with external linkage outside their own namespace, or the linker might let a small CPU run a
// copy that was compiled for a large one.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if !defined(ETCC_ISA)
#error "define ETCC_ISA as the name of the instruction set that this file is compiled for"
#endif

// Unrolls the loop that follows, of 12 turns at most, so that what it indexes stays in registers.
#define ETCC_UNROLL _Pragma("GCC unroll 12")

namespace etcc::ETCC_ISA {

#if defined(__AVX512F__)
inline constexpr std::size_t lanes = 16;
inline constexpr int panel_vectors = 4;  // with 6 positions: 24 sums, 4 weights and an input in 32 registers
#elif defined(__AVX2__)
inline constexpr std::size_t lanes = 8;
inline constexpr int panel_vectors = 2;  // 12 sums in 16 registers
#elif defined(__aarch64__)
inline constexpr std::size_t lanes = 4;
inline constexpr int panel_vectors = 4;
#else
inline constexpr std::size_t lanes = 4;
inline constexpr int panel_vectors = 2;
#endif
inline constexpr int tile_positions = 6;

typedef float Vec __attribute__((vector_size(lanes * sizeof(float)), aligned(sizeof(float)), may_alias));

typedef std::int32_t IntVec __attribute__((vector_size(lanes * sizeof(std::int32_t)), aligned(4), may_alias));

static inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
static inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
static inline Vec larger(Vec a, Vec b) { return b < a ? a : b; }  // b where one is NaN
static inline Vec relu(Vec v) { return larger(Vec{}, v); }        // NaN stays

static inline bool is_finite(float v) { return v - v == 0; }
static inline bool is_nan(float v) { return v != v; }
static inline IntVec is_nan(Vec v) { return v != v; }

static inline Vec gather(const float* p, IntVec at) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(_mm512_i32gather_ps(reinterpret_cast<__m512i>(at), p, 4));
#elif defined(__AVX2__)
  return reinterpret_cast<Vec>(_mm256_i32gather_ps(p, reinterpret_cast<__m256i>(at), 4));
#else
  Vec out;
  for (std::size_t l = 0; l < lanes; ++l) out[l] = p[at[l]];
  return out;
#endif
}

static inline IntVec gather(const std::int32_t* p, IntVec at) {
#if defined(__AVX512F__)
  return reinterpret_cast<IntVec>(_mm512_i32gather_epi32(reinterpret_cast<__m512i>(at), p, 4));
#elif defined(__AVX2__)
  return reinterpret_cast<IntVec>(_mm256_i32gather_epi32(p, reinterpret_cast<__m256i>(at), 4));
#else
  IntVec out;
  for (std::size_t l = 0; l < lanes; ++l) out[l] = p[at[l]];
  return out;
#endif
}

}  // namespace etcc::ETCC_ISA
