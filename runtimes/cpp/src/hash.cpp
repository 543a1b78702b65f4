#include "hash.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <vector>

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

class Sha256 {
 public:
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
    const std::array<Word, 8> sums{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; i++) state_[i] += sums[i];
  }

  std::string hex() const {
    std::string out;
    for (Word word : state_) {
      for (int shift = 28; shift >= 0; shift -= 4) out.push_back("0123456789abcdef"[(word >> shift) & 15]);
    }
    return out;
  }

 private:
  std::array<Word, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
};

}  // namespace

std::string sha256(const std::filesystem::path& path) {
  constexpr std::size_t block = 64;
  std::ifstream file;
  file.exceptions(std::ios::badbit | std::ios::failbit);
  file.open(path, std::ios::binary);
  file.exceptions(std::ios::badbit);
  Sha256 digest;
  std::vector<std::uint8_t> buffer(1 << 20);
  std::uint64_t length = 0;
  std::size_t rest = 0;
  do {
    file.read(reinterpret_cast<char*>(buffer.data()), static_cast<std::streamsize>(buffer.size()));
    const auto found = static_cast<std::size_t>(file.gcount());
    length += found;
    rest = found % block;
    for (std::size_t at = 0; at + block <= found; at += block) digest.add_block(buffer.data() + at);
    if (rest != 0) std::copy_n(buffer.data() + (found - rest), rest, buffer.data());
  } while (file);
  // The rest, a one bit, and the length in bits as the last eight bytes.
  buffer.resize(rest);
  buffer.push_back(0x80);
  while (buffer.size() % block != block - 8) buffer.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8) buffer.push_back(static_cast<std::uint8_t>(length * 8 >> shift));
  for (std::size_t at = 0; at < buffer.size(); at += block) digest.add_block(buffer.data() + at);
  return digest.hex();
}

}  // namespace samdeploy::internal
