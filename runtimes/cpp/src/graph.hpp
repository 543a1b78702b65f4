// An opened graph that is held to its manifest.
#pragma once

#include <future>
#include <memory>

#include "session.hpp"

namespace samdeploy::internal {

/// A session that is there, is being opened, or will be by the first who gets it.
using Opening = std::shared_future<std::unique_ptr<Session>>;

class Graph {
 public:
  /// `grid`: image tokens along a side of the encoder input.
  Graph(Opening session, GraphRecord record, std::int64_t grid)
      : session_(std::move(session)), record_(std::move(record)), grid_(grid) {}

  /// Run with those of `feeds` that the graph takes. Calls have a power of two of prompts, with a power of two of
  /// tokens each, because a backend prepares itself for every shape that it meets and keeps what it prepared.
  Tensors run(const Feeds& feeds) const;

  const std::vector<TensorRecord>& outputs() const { return record_.outputs; }
  const std::vector<TensorRecord>& inputs() const { return record_.inputs; }
  std::string provider() const { return session_.get()->provider(); }

 private:
  Tensors run_checked(const Feeds& feeds) const;

  Opening session_;
  GraphRecord record_;
  std::int64_t grid_;
};

}  // namespace samdeploy::internal
