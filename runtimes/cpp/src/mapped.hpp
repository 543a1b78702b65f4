// A file as bytes in memory, which the system reads as they are touched.
#pragma once

#include <cstddef>
#include <filesystem>

#ifdef _WIN32
#include <vector>
#endif

namespace samdeploy::internal {

class MappedFile {
 public:
  /// Throws `std::runtime_error` where the file cannot be read.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Null for an empty file.
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
#ifdef _WIN32
  std::vector<std::byte> held_;
#endif
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace samdeploy::internal
