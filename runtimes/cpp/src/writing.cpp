#include "writing.hpp"

#include <cstdio>
#include <random>

#include "text.hpp"

namespace samdeploy::internal {

namespace fs = std::filesystem;

fs::path unused_beside(const fs::path& path) {
  return fs::path(path).replace_extension(text("writing-", std::random_device()(), path.extension().string()));
}

void write_file(const fs::path& path, const std::string& content) {
  const fs::path unfinished = unused_beside(path);
  const auto failed = [&] {
    refuse(Fault::output, "'", path.string(), "' cannot be written; check the folder and the space on the disk.");
  };
  // "x": a file that is there after all is somebody else's.
  std::FILE* const file = std::fopen(unfinished.string().c_str(), "wbx");
  if (file == nullptr) failed();
  const std::size_t written = std::fwrite(content.data(), 1, content.size(), file);
  const bool closed = std::fclose(file) == 0;
  std::error_code renaming;
  if (closed && written == content.size()) {
    fs::rename(unfinished, path, renaming);
    if (!renaming) return;
  }
  fs::remove(unfinished, renaming);
  failed();
}

}  // namespace samdeploy::internal
