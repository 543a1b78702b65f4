#include "model.h"

#include <stdexcept>

namespace samdeploy::kernels {
namespace {

class Reader {
 public:
  explicit Reader(const Tensors& tensors) : tensors_(tensors) {}

  bool has(const std::string& name) const { return tensors_.count(name) > 0; }

  std::vector<long> shape(const std::string& name) const { return find(name).second; }

  Floats floats(const std::string& name, const std::vector<long>& shape) const {
    const auto& [data, found] = find(name);
    if (found != shape) throw std::invalid_argument("tensor '" + name + "' has another shape than its neighbours");
    long count = 1;
    for (const long side : shape) count *= side;
    return {data, data + count};
  }

  Linear linear(const std::string& name) const {
    const auto found = shape(name + ".weight");
    if (found.size() != 2) throw std::invalid_argument("tensor '" + name + ".weight' is no matrix");
    return matrix(floats(name + ".weight", found), floats(name + ".bias", {found[0]}), found[0], found[1]);
  }

  Norm norm(const std::string& name, int size, float eps) const {
    return {floats(name + ".weight", {size}), floats(name + ".bias", {size}), eps};
  }

  Linear linear(const std::string& name, int in, int out) const {
    Linear l = linear(name);
    if (l.in != in || (out && l.out != out))
      throw std::invalid_argument("tensor '" + name + ".weight' has another shape than its neighbours");
    return l;
  }

  Attention attention(const std::string& name, int heads, int channels, int inner = 0) const {
    Attention a;
    a.heads = heads;
    a.q = linear(name + ".q_proj", channels, inner);
    inner = a.q.out;
    if (inner % heads) throw std::invalid_argument("'" + name + "' has no " + std::to_string(heads) + " heads");
    a.k = linear(name + ".k_proj", channels, inner);
    a.v = linear(name + ".v_proj", channels, inner);
    a.o = linear(name + ".out_proj", inner, channels);
    a.width = inner / heads;
    a.query = floats(name + ".q_proj.weight", {inner, channels});
    a.key = floats(name + ".k_proj.weight", {inner, channels});
    const auto o = floats(name + ".out_proj.weight", {channels, inner});
    a.spread.resize(o.size());
    for (long i = 0; i < inner; ++i)
      for (long c = 0; c < channels; ++c) a.spread[i * channels + c] = o[static_cast<size_t>(c) * inner + i];
    return a;
  }

  std::vector<Linear> head(const std::string& name, int in, int out) const {
    std::vector<Linear> layers;
    while (has(name + ".layers." + std::to_string(layers.size()) + ".weight")) {
      const int width = layers.empty() ? in : layers.back().out;
      layers.push_back(linear(name + ".layers." + std::to_string(layers.size()), width, 0));
    }
    if (layers.empty() || layers.back().out != out)
      throw std::invalid_argument("'" + name + "' gives no " + std::to_string(out) + " numbers");
    return layers;
  }

  // A transposed 2 x 2 convolution of stride 2 [in, out, 2, 2] as a matrix [in, 4 out], position by position.
  Linear convolution(const std::string& name, int in, int out) const {
    const auto found = shape(name + ".weight");
    if (found.size() != 4 || found[0] != in || found[1] != out || found[2] != 2 || found[3] != 2) {
      throw std::invalid_argument("tensor '" + name + ".weight' is no transposed 2 x 2 convolution of " +
                                  std::to_string(in) + " channels");
    }
    const auto weight = floats(name + ".weight", found);
    Floats rows(4 * out * in), bias(4 * out, 0.0f);
    for (long position = 0; position < 4; ++position)
      for (long o = 0; o < out; ++o)
        for (long i = 0; i < in; ++i) rows[(position * out + o) * in + i] = weight[(i * out + o) * 4 + position];
    return matrix(rows, bias, 4 * out, in);
  }

 private:
  // ``rows`` [out, in]
  static Linear matrix(const Floats& rows, Floats bias, long out, long in) {
    Linear l;
    l.in = static_cast<int>(in);
    l.out = static_cast<int>(out);
    l.stride = static_cast<int>((out + PANEL - 1) / PANEL * PANEL);
    l.weight.assign(in * l.stride, 0.0f);
    for (long o = 0; o < out; ++o)
      for (long i = 0; i < in; ++i) l.weight[(o / PANEL * in + i) * PANEL + o % PANEL] = rows[o * in + i];
    bias.resize(l.stride, 0.0f);
    l.bias = std::move(bias);
    return l;
  }

  const Tensors::mapped_type& find(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw std::invalid_argument("there is no tensor '" + name + "'");
    return found->second;
  }

  const Tensors& tensors_;
};

}  // namespace

Model read_model(const Tensors& tensors, int image_size, int heads) {
  const Reader read(tensors);
  Model m;
  m.image_size = image_size;
  const auto masks = read.shape("mask_decoder.mask_tokens.weight");
  if (masks.size() != 2) throw std::invalid_argument("tensor 'mask_decoder.mask_tokens.weight' is no matrix");
  m.masks = static_cast<int>(masks[0]);
  m.channels = static_cast<int>(masks[1]);
  m.heads = heads;
  const int c = m.channels;
  if (c % 16 || c < 16 || c > 4096 || m.masks < 1 || m.masks > 64 || heads < 1 || heads > 256 || image_size < 16) {
    throw std::invalid_argument(std::to_string(c) + " channels, " + std::to_string(m.masks) + " masks and " +
                                std::to_string(heads) +
                                " heads; the kernels are for a multiple of 16 channels and at least one mask and head");
  }
  m.score = read.has("mask_decoder.obj_score_token.weight");
  const auto add_tokens = [&](const char* name, long count) {
    const auto some = read.floats(std::string("mask_decoder.") + name + ".weight", {count, c});
    m.own_tokens.insert(m.own_tokens.end(), some.begin(), some.end());
  };
  if (m.score) add_tokens("obj_score_token", 1);
  add_tokens("iou_token", 1);
  add_tokens("mask_tokens", m.masks);
  m.own = static_cast<int>(m.own_tokens.size()) / c;
  m.points = read.floats("prompt_encoder.not_a_point_embed.weight", {1, c});
  for (int label = 0; label < 4; ++label) {
    const auto one = read.floats("prompt_encoder.point_embeddings." + std::to_string(label) + ".weight", {1, c});
    m.points.insert(m.points.end(), one.begin(), one.end());
  }
  m.gaussian = read.floats("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", {2, c / 2});
  const std::string transformer = "mask_decoder.transformer.";
  m.last = read.attention(transformer + "final_attn_token_to_image", heads, c);
  m.inner = m.last.q.out;
  m.width = m.last.width;
  for (int i = 0; i < 2; ++i) {
    const std::string name = transformer + "layers." + std::to_string(i) + ".";
    Layer& b = m.layers[i];
    b.self = read.attention(name + "self_attn", heads, c);
    b.to_image = read.attention(name + "cross_attn_token_to_image", heads, c, m.inner);
    b.from_image = read.attention(name + "cross_attn_image_to_token", heads, c, m.inner);
    b.norm1 = read.norm(name + "norm1", c, 1e-5f);
    b.norm2 = read.norm(name + "norm2", c, 1e-5f);
    b.norm3 = read.norm(name + "norm3", c, 1e-5f);
    b.norm4 = read.norm(name + "norm4", c, 1e-5f);
    b.mlp1 = read.linear(name + "mlp.lin1", c, 0);
    b.mlp2 = read.linear(name + "mlp.lin2", b.mlp1.out, c);
  }
  m.norm_last = read.norm(transformer + "norm_final_attn", c, 1e-5f);
  m.iou = read.head("mask_decoder.iou_prediction_head", c, m.masks);
  if (m.score) m.present = read.head("mask_decoder.pred_obj_score_head", c, 1);
  for (int i = 0; i < m.masks; ++i) {
    m.filters.push_back(read.head("mask_decoder.output_hypernetworks_mlps." + std::to_string(i), c, c / 8));
  }
  const std::string up = "mask_decoder.output_upscaling.";
  m.first = read.convolution(up + "0", c, c / 4);
  m.second = read.convolution(up + "3", c / 4, c / 8);
  // Its bias, and what it makes of the bias of the norm before it.
  const auto bias = read.floats(up + "0.bias", {c / 4});
  const auto kernel = read.floats(up + "0.weight", {c, c / 4, 2, 2});
  for (int position = 0; position < 4; ++position)
    for (int o = 0; o < c / 4; ++o) {
      double sum = bias[o];
      for (int i = 0; i < c; ++i)
        sum += static_cast<double>(m.layers[1].norm4.bias[i]) *
               kernel[(static_cast<long>(i) * (c / 4) + o) * 4 + position];
      m.middle.push_back(static_cast<float>(sum));
    }
  m.second_bias = read.floats(up + "3.bias", {c / 8});
  m.norm_up = read.norm(up + "1", c / 4, 1e-6f);
  return m;
}

}  // namespace samdeploy::kernels
