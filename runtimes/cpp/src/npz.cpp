#include "npz.hpp"

#include <array>
#include <stdexcept>

namespace samdeploy::internal {
namespace {

constexpr std::uint32_t local_mark = 0x04034b50;
constexpr std::uint32_t central_mark = 0x02014b50;
constexpr std::uint32_t end_mark = 0x06054b50;
constexpr std::size_t local_length = 30;
constexpr std::size_t central_length = 46;
constexpr std::size_t end_length = 22;
constexpr std::size_t most_bytes = 0xfffffffe;
constexpr std::uint16_t first_of_1980 = 0x21;
const std::string npy_mark("\x93NUMPY\x01\x00", 8);
const std::map<std::string, std::size_t> widths{{"<f4", 4}, {"<i8", 8}, {"|b1", 1}};

std::uint32_t crc32(const std::string& bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> made{};
    for (std::uint32_t i = 0; i < 256; i++) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320U : 0U);
      made[i] = value;
    }
    return made;
  }();
  std::uint32_t crc = 0xffffffff;
  for (char byte : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<std::uint8_t>(byte)) & 255];
  return ~crc;
}

template <typename Number>
void put(std::string& out, Number value) {
  for (std::size_t i = 0; i < sizeof(Number); i++) out.push_back(static_cast<char>(value >> (8 * i) & 255));
}

std::uint64_t get(const std::string& bytes, std::size_t at, std::size_t width) {
  if (width > bytes.size() || at > bytes.size() - width) throw std::runtime_error("it is truncated");
  std::uint64_t value = 0;
  for (std::size_t i = width; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

std::string part(const std::string& bytes, std::uint64_t at, std::uint64_t length) {
  if (length > bytes.size() || at > bytes.size() - length) throw std::runtime_error("it is truncated");
  return bytes.substr(static_cast<std::size_t>(at), static_cast<std::size_t>(length));
}

std::string to_npy(const StoredArray& array) {
  std::string header = "{'descr': '" + array.type + "', 'fortran_order': False, 'shape': (";
  for (std::int64_t side : array.shape) header += std::to_string(side) + ",";
  header += "), }";
  // All of it up to the values is a multiple of 64 bytes.
  header.append(63 - (npy_mark.size() + 2 + header.size()) % 64, ' ');
  header.push_back('\n');
  std::string out = npy_mark;
  put(out, static_cast<std::uint16_t>(header.size()));
  return out + header + array.bytes;
}

/// What stands behind a key of the dictionary of a header.
std::string behind(const std::string& header, const std::string& key) {
  const std::size_t found = header.find("'" + key + "':");
  if (found == std::string::npos) throw std::runtime_error("an array without " + key);
  return header.substr(header.find_first_not_of(' ', found + key.size() + 3));
}

StoredArray from_npy(const std::string& bytes) {
  if (bytes.compare(0, npy_mark.size(), npy_mark) != 0) throw std::runtime_error("a member is no array of version 1.0");
  const std::size_t start = npy_mark.size() + 2;
  const std::uint64_t length = get(bytes, npy_mark.size(), 2);
  const std::string header = part(bytes, start, length);
  StoredArray array;
  array.type = behind(header, "descr").substr(1, 3);
  const auto width = widths.find(array.type);
  if (width == widths.end()) throw std::runtime_error("an array of " + array.type);
  if (behind(header, "fortran_order").compare(0, 5, "False") != 0) throw std::runtime_error("an array in columns");
  std::string shape = behind(header, "shape");
  shape = shape.substr(0, shape.find(')'));
  std::size_t bytes_wanted = width->second;
  for (std::size_t at = 0; (at = shape.find_first_of("0123456789", at)) != std::string::npos;) {
    std::size_t used = 0;
    array.shape.push_back(std::stoll(shape.substr(at), &used));
    at += used;
    const auto side = static_cast<std::size_t>(array.shape.back());
    if (side != 0 && bytes_wanted > most_bytes / side) throw std::runtime_error("an array that is too large");
    bytes_wanted *= side;
  }
  array.bytes = bytes.substr(start + static_cast<std::size_t>(length));
  if (array.bytes.size() != bytes_wanted) throw std::runtime_error("an array of another size than it tells");
  return array;
}

/// What a local and a central header of a member share.
std::string member_facts(const std::string& name, const std::string& content) {
  std::string out;
  put(out, std::uint16_t{20});  // version of the format
  put(out, std::uint16_t{0});
  put(out, std::uint16_t{0});  // not compressed
  put(out, std::uint16_t{0});
  put(out, first_of_1980);
  put(out, crc32(content));
  put(out, static_cast<std::uint32_t>(content.size()));
  put(out, static_cast<std::uint32_t>(content.size()));
  put(out, static_cast<std::uint16_t>(name.size()));
  put(out, std::uint16_t{0});
  return out;
}

}  // namespace

std::string write_npz(const StoredArrays& arrays) {
  std::string out;
  std::string directory;
  for (const auto& [key, array] : arrays) {
    const std::string name = key + ".npy";
    const std::string content = to_npy(array);
    if (out.size() + content.size() > most_bytes) throw std::runtime_error("more than 4 GB");
    const std::string facts = member_facts(name, content);
    put(directory, central_mark);
    put(directory, std::uint16_t{20});
    directory += facts;
    directory.append(10, '\0');  // comment, disk, attributes
    put(directory, static_cast<std::uint32_t>(out.size()));
    directory += name;
    put(out, local_mark);
    out += facts + name + content;
  }
  const auto start = static_cast<std::uint32_t>(out.size());
  out += directory;
  put(out, end_mark);
  put(out, std::uint32_t{0});
  put(out, static_cast<std::uint16_t>(arrays.size()));
  put(out, static_cast<std::uint16_t>(arrays.size()));
  put(out, static_cast<std::uint32_t>(directory.size()));
  put(out, start);
  put(out, std::uint16_t{0});
  return out;
}

StoredArrays read_npz(const std::string& archive) {
  if (archive.size() < end_length) throw std::runtime_error("it is truncated");
  const std::size_t end = archive.size() - end_length;
  if (get(archive, end, 4) != end_mark) throw std::runtime_error("it is no archive of arrays");
  std::uint64_t at = get(archive, end + 16, 4);
  StoredArrays arrays;
  // Members that share their content would be more than the file.
  std::uint64_t unread = archive.size();
  for (std::uint64_t left = get(archive, end + 10, 2); left > 0; left--) {
    const auto entry = static_cast<std::size_t>(at);
    if (get(archive, entry, 4) != central_mark) throw std::runtime_error("its directory is damaged");
    if (get(archive, entry + 10, 2) != 0) throw std::runtime_error("its content is compressed");
    const std::uint64_t size = get(archive, entry + 24, 4);
    const std::uint64_t name_length = get(archive, entry + 28, 2);
    const std::uint64_t behind_name = get(archive, entry + 30, 2) + get(archive, entry + 32, 2);
    const auto local = static_cast<std::size_t>(get(archive, entry + 42, 4));
    std::string name = part(archive, at + central_length, name_length);
    if (get(archive, local, 4) != local_mark) throw std::runtime_error("its directory is damaged");
    const std::uint64_t content_at = local + local_length + get(archive, local + 26, 2) + get(archive, local + 28, 2);
    if (size > unread) throw std::runtime_error("its members overlap");
    unread -= size;
    const std::string content = part(archive, content_at, size);
    if (crc32(content) != get(archive, entry + 16, 4)) throw std::runtime_error("its content was changed");
    if (name.size() > 4 && name.compare(name.size() - 4, 4, ".npy") == 0) name.resize(name.size() - 4);
    arrays[name] = from_npy(content);
    at += central_length + name_length + behind_name;
  }
  return arrays;
}

}  // namespace samdeploy::internal
