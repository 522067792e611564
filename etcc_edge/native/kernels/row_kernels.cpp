// A line's cells, and the plain numbers in them. Digits and power of ten of such a number are exact as double, so that
// their quotient is the correctly rounded value (Clinger 1990); what is not so plain is left to number.cpp.
#include "kernels/isa.hpp"
#include "kernels/simd.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace etcc::ETCC_ISA {
namespace {

constexpr std::size_t bytes_per_mask = 64;   // of a line that are looked at together, a bit each
constexpr std::size_t starts_per_store = 8;  // written together, so that the loop's length is seldom mispredicted
static_assert(cell_slack == bytes_per_mask + starts_per_store);

#if defined(__SSE2__)

inline std::uint64_t comma_bits(const char* bytes) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < bytes_per_mask; i += 16) {
    const __m128i part = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
    const int mask = _mm_movemask_epi8(_mm_cmpeq_epi8(part, _mm_set1_epi8(',')));
    bits |= static_cast<std::uint64_t>(mask) << i;
  }
  return bits;
}

#elif defined(__aarch64__)

inline std::uint64_t comma_bits(const char* bytes) {
  const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  uint8x16_t part[4];
  for (std::size_t i = 0; i < 4; ++i) {
    const uint8x16_t text = vld1q_u8(reinterpret_cast<const std::uint8_t*>(bytes) + 16 * i);
    part[i] = vandq_u8(vceqq_u8(text, vdupq_n_u8(',')), bit);
  }
  const uint8x16_t halves = vpaddq_u8(vpaddq_u8(part[0], part[1]), vpaddq_u8(part[2], part[3]));
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(halves, halves)), 0);
}

#else

inline std::uint64_t comma_bits(const char* bytes) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < bytes_per_mask; ++i) bits |= static_cast<std::uint64_t>(bytes[i] == ',') << i;
  return bits;
}

#endif

std::size_t find_cells(const char* line, std::size_t size, const char* readable_end, std::size_t wanted,
                       std::uint32_t* starts) {
  starts[0] = 0;
  std::size_t cells = 1;
  for (std::size_t offset = 0; offset < size; offset += bytes_per_mask) {
    const char* bytes = line + offset;
    const std::size_t length = size - offset;
    char copy[bytes_per_mask];
    if (static_cast<std::size_t>(readable_end - bytes) < bytes_per_mask) {
      for (std::size_t i = 0; i < bytes_per_mask; ++i) copy[i] = i < length ? bytes[i] : '\0';
      bytes = copy;
    }
    std::uint64_t commas = comma_bits(bytes);
    if (length < bytes_per_mask) commas &= (std::uint64_t{1} << length) - 1;
    const auto comma_count = static_cast<std::size_t>(__builtin_popcountll(commas));
    if (cells <= wanted) {
      for (std::size_t i = 0; i < comma_count; i += starts_per_store) {
        for (std::size_t j = 0; j < starts_per_store; ++j) {
          const int at = __builtin_ctzll(commas | std::uint64_t{1} << 63);  // anything where none is left
          starts[cells + i + j] = static_cast<std::uint32_t>(offset + static_cast<std::size_t>(at) + 1);
          commas &= commas - 1;
        }
      }
    }
    cells += comma_count;
  }
  if (cells <= wanted) starts[cells] = static_cast<std::uint32_t>(size + 1);
  return cells;
}

constexpr std::size_t max_digits = 16;  // and a point among them, in a cell read here
constexpr std::uint64_t max_exact_double = std::uint64_t{1} << 53;

struct Decimal {
  std::uint64_t digits;
  std::size_t before;  // characters from the left of 16 to the point, or 16 without one
};

// By characters to the left of the point: ten to the number of those after it.
constexpr double powers_of_ten[max_digits + 1] = {1e15, 1e14, 1e13, 1e12, 1e11, 1e10, 1e9, 1e8, 1e7,
                                                  1e6,  1e5,  1e4,  1e3,  1e2,  1e1,  1e0, 1e0};

#if defined(__AVX2__)

struct Shuffles {
  unsigned char to_right[2 * max_digits];          // from [length]: moves that many characters to the right end
  unsigned char drop[max_digits + 1][max_digits];  // by place of the point: moves what is left of it over it
};

constexpr Shuffles make_shuffles() {
  constexpr unsigned char zero = 0x80;  // no byte of the source
  Shuffles table{};
  for (std::size_t i = 0; i < max_digits; ++i) {
    table.to_right[i] = zero;
    table.to_right[max_digits + i] = static_cast<unsigned char>(i);
    for (std::size_t point = 0; point < max_digits; ++point) {
      table.drop[point][i] = static_cast<unsigned char>(i > point ? i : i > 0 ? i - 1 : zero);
    }
    table.drop[max_digits][i] = static_cast<unsigned char>(i);
  }
  return table;
}

constexpr Shuffles shuffles = make_shuffles();

// Of 1 to 16 characters, and as many readable bytes as 16; false if they are not digits with at most one point.
inline bool read_decimal(const char* at, std::size_t length, Decimal& decimal) {
  const auto load = [](const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); };
  __m128i text = _mm_xor_si128(load(at), _mm_set1_epi8('0'));
  text = _mm_shuffle_epi8(text, load(shuffles.to_right + length));
  const __m128i other = _mm_cmpeq_epi8(_mm_max_epu8(text, _mm_set1_epi8(10)), text);
  const auto others = static_cast<unsigned>(_mm_movemask_epi8(other));
  const auto points = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8('.' ^ '0'))));
  if (others != points || (points & (points - 1)) != 0) return false;
  decimal.before = static_cast<std::size_t>(__builtin_ctz(points | 1U << max_digits));
  text = _mm_shuffle_epi8(text, load(shuffles.drop[decimal.before]));
  // Neighbours are joined, then pairs, then fours.
  const __m128i pairs = _mm_maddubs_epi16(text, _mm_set1_epi16(1 << 8 | 10));
  const __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(1 << 16 | 100));
  const __m128i eights = _mm_madd_epi16(_mm_packus_epi32(fours, fours), _mm_set1_epi32(1 << 16 | 10000));
  const auto both = static_cast<std::uint64_t>(_mm_cvtsi128_si64(eights));
  decimal.digits = (both & 0xFFFFFFFF) * 100'000'000 + (both >> 32);
  return true;
}

#else

__extension__ typedef unsigned __int128 Word;

// Of digits 0 to 9, a byte each, the first in the lowest byte: neighbours are joined, then pairs, then fours.
inline std::uint64_t join(std::uint64_t word) {
  word = (word * (1 + (10 << 8))) >> 8 & 0x00FF00FF00FF00FF;
  word = (word * (1 + (std::uint64_t{100} << 16))) >> 16 & 0x0000FFFF0000FFFF;
  return (word * (1 + (std::uint64_t{10000} << 32))) >> 32;
}

// Of 1 to 16 characters, and as many readable bytes as 16; false if they are not digits with at most one point.
inline bool read_decimal(const char* at, std::size_t length, Decimal& decimal) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(Word) == max_digits);
  constexpr Word ones = ~Word{0} / 0xFF;  // a 1 in each byte
  Word text;
  __builtin_memcpy(&text, at, sizeof text);
  text = (text ^ ones * '0') << 8 * (max_digits - length);  // the last character in the highest byte, zeros below
  const Word others = ((text + ones * (0x80 - 10)) | text) & ones * 0x80;
  decimal.before = max_digits;
  if (others != 0) {
    const auto low = static_cast<std::uint64_t>(others);
    const int bit = low != 0 ? __builtin_ctzll(low) : 64 + __builtin_ctzll(static_cast<std::uint64_t>(others >> 64));
    const int point = bit / 8 * 8;
    if ((others & (others - 1)) != 0 || static_cast<unsigned char>(text >> point) != ('.' ^ '0')) return false;
    decimal.before = static_cast<std::size_t>(point) / 8;
    const Word left = (Word{1} << point) - 1;
    text = (text & left) << 8 | (text & ~(left << 8 | 0xFF));
  }
  decimal.digits = join(static_cast<std::uint64_t>(text)) * 100'000'000 + join(static_cast<std::uint64_t>(text >> 64));
  return true;
}

#endif

// Whether the cell is a plain number that fits float32.
inline bool read_plain(const char* at, std::size_t length, const char* readable_end, double factor, float& value) {
  const bool negative = length > 0 && *at == '-';
  at += negative;
  length -= negative;
  Decimal decimal;
  if (length == 0 || length > max_digits || static_cast<std::size_t>(readable_end - at) < max_digits ||
      (length == 1 && *at == '.') || !read_decimal(at, length, decimal) || decimal.digits > max_exact_double) {
    return false;
  }
  const double number = static_cast<double>(static_cast<std::int64_t>(decimal.digits)) / powers_of_ten[decimal.before];
  if (negative) factor = number == 1 ? -1 : -factor;  // -1 means none, in any unit
  value = static_cast<float>(number * factor);
  return is_finite(value);
}

std::size_t read_numbers(const char* line, const std::uint32_t* starts, const NumberColumn* columns, std::size_t count,
                         const char* readable_end, float* values, std::uint32_t* others) {
  std::size_t other_count = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t start = starts[columns[i].index];
    const std::uint32_t length = starts[columns[i].index + 1] - start - 1;
    others[other_count] = static_cast<std::uint32_t>(i);
    other_count += !read_plain(line + start, length, readable_end, columns[i].factor, values[i]);
  }
  return other_count;
}

}  // namespace

void fill_row_kernels(Kernels& kernels) {
  kernels.find_cells = find_cells;
  kernels.read_numbers = read_numbers;
}

}  // namespace etcc::ETCC_ISA
