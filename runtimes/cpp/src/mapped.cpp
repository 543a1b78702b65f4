#include "mapped.hpp"

#include <stdexcept>

#ifdef _WIN32
#include <fstream>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace samdeploy::internal {

#ifdef _WIN32

MappedFile::MappedFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (file) held_.resize(static_cast<std::size_t>(file.tellg()));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(held_.data()), static_cast<std::streamsize>(held_.size()));
  if (!file) throw std::runtime_error("it cannot be read");
  data_ = held_.data();
  size_ = held_.size();
}

MappedFile::~MappedFile() = default;

#else

MappedFile::MappedFile(const std::filesystem::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat facts {};
  void* mapped = nullptr;
  const bool readable = file >= 0 && fstat(file, &facts) == 0;
  if (readable && facts.st_size > 0) {
    size_ = static_cast<std::size_t>(facts.st_size);
    mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
  }
  if (file >= 0) close(file);
  if (!readable || mapped == MAP_FAILED) throw std::runtime_error("it cannot be read");
  data_ = static_cast<const std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

#endif

}  // namespace samdeploy::internal
