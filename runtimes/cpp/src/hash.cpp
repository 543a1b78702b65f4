#include "hash.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#define SAMDEPLOY_SHA_INSTRUCTIONS
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace samdeploy::internal {
namespace {

using Word = std::uint32_t;

constexpr std::array<Word, 64> constants{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr Word turned(Word word, int by) { return (word >> by) | (word << (32 - by)); }

using State = std::array<Word, 8>;

#ifndef SAMDEPLOY_SHA_INSTRUCTIONS
bool has_sha_instructions() { return false; }
#else
bool has_sha_instructions() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b >> 29 & 1) != 0;
}

/// What the loops of `add_block` do, by instructions of the processor, several times as fast.
__attribute__((target("sha,sse4.1"))) void add_blocks_by_instructions(State& state, const std::uint8_t* bytes,
                                                                      std::size_t count) {
  const auto whole = [](Word word) { return static_cast<int>(word); };
  // The instructions want a, b, e, f and c, d, g, h side by side.
  __m128i abef = _mm_set_epi32(whole(state[0]), whole(state[1]), whole(state[4]), whole(state[5]));
  __m128i cdgh = _mm_set_epi32(whole(state[2]), whole(state[3]), whole(state[6]), whole(state[7]));
  const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  for (std::size_t block = 0; block < count; block++) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i words[4];
    for (__m128i& four : words) {
      four = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)), big_endian);
      bytes += sizeof four;
    }
    for (std::size_t i = 0; i < 16; i++) {
      __m128i& four = words[i % 4];
      if (i >= 4) {
        const __m128i last = words[(i + 3) % 4];
        const __m128i seven_before = _mm_alignr_epi8(last, words[(i + 2) % 4], sizeof(Word));
        four = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(four, words[(i + 1) % 4]), seven_before), last);
      }
      const auto* added = reinterpret_cast<const __m128i*>(constants.data() + 4 * i);
      const __m128i sums = _mm_add_epi32(four, _mm_loadu_si128(added));
      // Two rounds make one of the registers the other.
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sums);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sums, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  std::array<Word, 4> upper;
  std::array<Word, 4> lower;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(upper.data()), abef);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(lower.data()), cdgh);
  state = {upper[3], upper[2], lower[3], lower[2], upper[1], upper[0], lower[1], lower[0]};
}
#endif

class Sha256 {
 public:
  explicit Sha256(bool instructions) : instructions_(instructions && has_sha_instructions()) {}

  void add_blocks(const std::uint8_t* bytes, std::size_t count) {
#ifdef SAMDEPLOY_SHA_INSTRUCTIONS
    if (instructions_) return add_blocks_by_instructions(state_, bytes, count);
#endif
    for (std::size_t i = 0; i < count; i++) add_block(bytes + 64 * i);
  }

  std::string hex() const {
    std::string out;
    for (Word word : state_) {
      for (int shift = 28; shift >= 0; shift -= 4) out.push_back("0123456789abcdef"[(word >> shift) & 15]);
    }
    return out;
  }

 private:
  void add_block(const std::uint8_t* bytes) {
    std::array<Word, 64> words;
    for (std::size_t i = 0; i < 16; i++) {
      words[i] = Word{bytes[4 * i]} << 24 | Word{bytes[4 * i + 1]} << 16 | Word{bytes[4 * i + 2]} << 8 |
                 Word{bytes[4 * i + 3]};
    }
    for (std::size_t i = 16; i < 64; i++) {
      const Word x = words[i - 15];
      const Word y = words[i - 2];
      words[i] = words[i - 16] + (turned(x, 7) ^ turned(x, 18) ^ (x >> 3)) + words[i - 7] +
                 (turned(y, 17) ^ turned(y, 19) ^ (y >> 10));
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t i = 0; i < 64; i++) {
      const Word first =
          h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + constants[i] + words[i];
      const Word second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + first;
      d = c;
      c = b;
      b = a;
      a = first + second;
    }
    const State sums{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; i++) state_[i] += sums[i];
  }

  [[maybe_unused]] bool instructions_;
  State state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
};

}  // namespace

std::string sha256(const std::filesystem::path& path, bool instructions) {
  constexpr std::size_t block = 64;
  std::ifstream file;
  file.exceptions(std::ios::badbit | std::ios::failbit);
  file.open(path, std::ios::binary);
  file.exceptions(std::ios::badbit);
  Sha256 digest(instructions);
  std::vector<std::uint8_t> buffer(1 << 20);
  std::uint64_t length = 0;
  std::size_t rest = 0;
  do {
    file.read(reinterpret_cast<char*>(buffer.data()), static_cast<std::streamsize>(buffer.size()));
    const auto found = static_cast<std::size_t>(file.gcount());
    length += found;
    rest = found % block;
    digest.add_blocks(buffer.data(), found / block);
    if (rest != 0) std::copy_n(buffer.data() + (found - rest), rest, buffer.data());
  } while (file);
  // The rest, a one bit, and the length in bits as the last eight bytes.
  buffer.resize(rest);
  buffer.push_back(0x80);
  while (buffer.size() % block != block - 8) buffer.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8) buffer.push_back(static_cast<std::uint8_t>(length * 8 >> shift));
  digest.add_blocks(buffer.data(), buffer.size() / block);
  return digest.hex();
}

}  // namespace samdeploy::internal
