// The weights of a mask decoder, as plain C++: no instruction set in here.
#pragma once

#include <map>
#include <new>
#include <string>
#include <vector>

namespace samdeploy::kernels {

// Memory at the begin of a cache line: a register of 64 bytes is then read from one line and not from two.
template <class T>
struct Aligned {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};

  Aligned() = default;
  template <class U>
  explicit Aligned(const Aligned<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* at, size_t) { ::operator delete(at, kLine); }
  bool operator==(const Aligned&) const { return true; }
};

using Floats = std::vector<float, Aligned<float>>;

// Image tokens, and outputs of a linear layer, that are computed at a time.
constexpr int TILE = 64, PANEL = 64;

// y = x W + b. ``weight`` [stride / PANEL, in, PANEL]: the outputs panel by panel, with zeros behind the last.
struct Linear {
  int in = 0, out = 0, stride = 0;
  Floats weight, bias;
};

struct Norm {
  Floats weight, bias;
  float eps = 1e-5f;
};

// ``q``, ``k`` and ``v`` to ``heads`` of ``width``, and ``o`` back. ``spread`` [heads, width, C] is ``o`` head by head;
// ``query`` and ``key`` [heads, width, C] are the weights of ``q`` and ``k`` head by head.
struct Attention {
  int heads = 0, width = 0;
  Linear q, k, v, o;
  Floats spread, query, key;
};

struct Layer {
  Attention self, to_image, from_image;
  Norm norm1, norm2, norm3, norm4;
  Linear mlp1, mlp2;
};

struct Model {
  int channels = 0, inner = 0, heads = 0, width = 0, masks = 0, own = 0, image_size = 0;
  bool score = false;  // SAM 2: a token and a head for whether the object is there, and IoU by a sigmoid
  Floats own_tokens;   // [own, C]
  Floats points;       // [5, C]: padding, then labels 0 to 3
  Floats gaussian;     // [2, C / 2]
  Layer layers[2];
  Attention last;
  Norm norm_last;
  std::vector<Linear> iou, present;
  std::vector<std::vector<Linear>> filters;  // of each mask
  Linear first, second;                      // the transposed convolutions as matrices; without biases
  Floats middle, second_bias;                // what is added behind them; of the first [C]
  Norm norm_up;
};

using Tensors = std::map<std::string, std::pair<const float*, std::vector<long>>>;

// Throws std::invalid_argument where a tensor is missing or of another shape.
Model read_model(const Tensors& tensors, int image_size, int heads);

}  // namespace samdeploy::kernels
