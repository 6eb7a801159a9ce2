#include "sampling.hpp"

#include <algorithm>
#include <cmath>
#include <new>

#include "baton/base/token_mask.hpp"
#include "runtime.hpp"

namespace baton {
namespace {

constexpr std::int32_t kMostVocab = 1 << 18;

bool wants_logprobs(const RowSampling& row) { return row.logprobs >= 0; }

}  // namespace

DeviceSampler::~DeviceSampler() { cudaFreeHost(host_); }

bool DeviceSampler::can(const Tensor& logits, std::span<const RowSampling> rows) {
  return logits.cols < kMostVocab && std::ranges::all_of(rows, [](const RowSampling& row) {
           return row.logprobs <= cuda::kMaxTopLogprobs;
         });
}

DeviceSampler::Layout DeviceSampler::plan(std::span<const RowSampling> rows, std::size_t mask_bytes) const {
  std::size_t bias = 0, counts = 0, banned = 0, masks = 0;
  for (const RowSampling& row : rows) {
    bias += row.bias.size();
    counts += row.counts.size();
    banned += row.banned.size();
    masks += row.mask.empty() ? 0 : 1;
  }
  std::size_t offset = 0;
  const auto place = [&](std::size_t bytes) {
    const std::size_t at = offset;
    offset += (bytes + 255) / 256 * 256;
    return at;
  };
  Layout layout;
  layout.rows = place(rows.size() * sizeof(cuda::SampleRow));
  layout.bias = place(bias * sizeof(cuda::TokenBias));
  layout.counts = place(counts * sizeof(cuda::TokenCount));
  layout.banned = place(banned * sizeof(cuda::BannedToken));
  layout.masks = place(masks * mask_bytes);
  layout.input = offset;
  layout.tokens = place(rows.size() * sizeof(std::int32_t));
  layout.edges = place(rows.size() * 2 * sizeof(float));
  layout.logprobs = place(rows.size() * sizeof(float));
  layout.top_tokens = place(rows.size() * cuda::kMaxTopLogprobs * sizeof(std::int32_t));
  layout.top_logprobs = place(rows.size() * cuda::kMaxTopLogprobs * sizeof(float));
  layout.end = offset;
  return layout;
}

void DeviceSampler::reserve(std::size_t bytes, std::int32_t rows, std::int32_t vocab) {
  if (memory_.size() < bytes) {
    const std::size_t size = std::max(bytes, 2 * memory_.size());
    auto memory = Buffer::allocate(device_, size);
    if (!memory) throw std::bad_alloc();
    void* data = nullptr;
    require(cudaMallocHost(&data, size), "no pinned memory for sampling");
    cudaFreeHost(host_);
    host_ = static_cast<std::byte*>(data);
    memory_ = *std::move(memory);
  }
  if (rows > max_rows_ || vocab != vocab_) {
    const std::int32_t most = std::max({rows, max_rows_, 64});
    auto memory = Buffer::allocate(device_, cuda::sample_workspace_bytes(most, vocab));
    if (!memory) throw std::bad_alloc();
    workspace_ = *std::move(memory);
    max_rows_ = most;
    vocab_ = vocab;
  }
}

void DeviceSampler::fill(const Layout& layout, std::span<const RowSampling> rows) {
  std::int32_t bias = 0, counts = 0, banned = 0, masks = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const RowSampling& row = rows[i];
    const auto range = [](std::int32_t& next, std::size_t count) {
      const cuda::EntryRange made{next, static_cast<std::int32_t>(count)};
      next += made.count;
      return made;
    };
    auto* const biases = host<cuda::TokenBias>(layout.bias) + bias;
    auto* const counted = host<cuda::TokenCount>(layout.counts) + counts;
    auto* const bans = host<cuda::BannedToken>(layout.banned) + banned;
    host<cuda::SampleRow>(layout.rows)[i] = {.temperature = row.temperature,
                                             .top_p = row.top_p,
                                             .min_p = row.min_p,
                                             .top_k = row.top_k,
                                             .presence_penalty = row.presence_penalty,
                                             .frequency_penalty = row.frequency_penalty,
                                             .repetition_penalty = row.repetition_penalty,
                                             .choice = row.choice,
                                             .seed = row.seed,
                                             .output_index = row.output_index,
                                             .logprobs = row.logprobs,
                                             .mask = row.mask.empty() ? -1 : masks++,
                                             .bias = range(bias, row.bias.size()),
                                             .counts = range(counts, row.counts.size()),
                                             .banned = range(banned, row.banned.size())};
    for (std::size_t j = 0; j < row.bias.size(); ++j)
      biases[j] = {row.bias[j].first, row.bias[j].second, 0.0F};
    for (std::size_t j = 0; j < row.counts.size(); ++j)
      counted[j] = {row.counts[j].first, row.counts[j].second, 0.0F};
    for (std::size_t j = 0; j < row.banned.size(); ++j) bans[j] = {row.banned[j], 0.0F};
    std::stable_sort(biases, biases + row.bias.size(),
                     [](const auto& a, const auto& b) { return a.token < b.token; });
  }
}

// One after the other, in the order of the rows that have one.
void DeviceSampler::fill_masks(const Layout& layout, std::span<const RowSampling> rows, std::size_t words) {
  auto* next = host<std::uint32_t>(layout.masks);
  for (const RowSampling& row : rows) {
    if (row.mask.empty()) continue;
    const std::size_t given = std::min(row.mask.size(), words);
    std::copy_n(row.mask.data(), given, next);
    std::fill_n(next + given, words - given, 0U);
    next += words;
  }
}

std::vector<RowSample> DeviceSampler::collect(const Layout& layout, std::span<const RowSampling> rows,
                                              bool logprobs) const {
  std::vector<RowSample> samples(rows.size());
  const float* const edges = host<float>(layout.edges);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    samples[i].token = host<std::int32_t>(layout.tokens)[i];
    samples[i].nan = std::isnan(edges[i]) && std::isnan(edges[rows.size() + i]);
    if (!logprobs || !wants_logprobs(rows[i])) continue;
    samples[i].logprob = host<float>(layout.logprobs)[i];
    const std::size_t first = i * cuda::kMaxTopLogprobs;
    const std::int32_t wanted = std::min(rows[i].logprobs, vocab_);
    for (std::size_t j = 0; j < static_cast<std::size_t>(wanted); ++j)
      samples[i].top.emplace_back(host<std::int32_t>(layout.top_tokens)[first + j],
                                  host<float>(layout.top_logprobs)[first + j]);
  }
  return samples;
}

std::vector<RowSample> DeviceSampler::sample(const Tensor& logits, std::span<const RowSampling> rows) {
  const std::size_t words = mask_words(static_cast<std::size_t>(logits.cols));
  const Layout layout = plan(rows, words * sizeof(std::uint32_t));
  const auto row_count = static_cast<std::int32_t>(rows.size());
  reserve(layout.end, row_count, static_cast<std::int32_t>(logits.cols));
  fill(layout, rows);
  fill_masks(layout, rows, words);
  require(cudaMemcpyAsync(memory_.data(), host_, layout.input, cudaMemcpyHostToDevice, stream_),
          "cannot send sampling parameters");
  // The first and the last logit of each row: where both are NaN, the model has computed nothing else.
  const std::size_t pitch = static_cast<std::size_t>(logits.stride) * sizeof(float);
  const auto* values = static_cast<const float*>(logits.data);
  for (const std::int64_t edge : {std::int64_t{0}, logits.cols - 1}) {
    const std::size_t at = layout.edges + (edge == 0 ? 0 : rows.size() * sizeof(float));
    require(cudaMemcpy2DAsync(memory_.data() + at, sizeof(float), values + edge, pitch, sizeof(float),
                              rows.size(), cudaMemcpyDeviceToDevice, stream_),
            "cannot copy logits");
  }
  cuda::SampleStages stages;
  stages.draw = std::ranges::any_of(rows, [](const RowSampling& row) { return row.temperature > 0; });
  stages.filters = std::ranges::any_of(
      rows, [](const RowSampling& row) { return row.temperature > 0 && (row.top_k > 0 || row.top_p < 1); });
  stages.logprobs = std::ranges::any_of(rows, wants_logprobs);
  cuda::SampleArgs args;
  args.logits = static_cast<float*>(logits.data);
  args.stride = logits.stride;
  args.rows = row_count;
  args.vocab = static_cast<std::int32_t>(logits.cols);
  args.row = device<cuda::SampleRow>(layout.rows);
  args.bias = device<cuda::TokenBias>(layout.bias);
  args.counts = device<cuda::TokenCount>(layout.counts);
  args.banned = device<cuda::BannedToken>(layout.banned);
  args.masks = device<std::uint32_t>(layout.masks);
  args.mask_stride = static_cast<std::int64_t>(words);
  args.tokens = device<std::int32_t>(layout.tokens);
  args.logprobs = device<float>(layout.logprobs);
  args.top_tokens = device<std::int32_t>(layout.top_tokens);
  args.top_logprobs = device<float>(layout.top_logprobs);
  args.workspace = workspace_.data();
  args.max_rows = max_rows_;
  require(cuda::sample(args, stages, stream_), "sample");
  const std::size_t end = stages.logprobs ? layout.end : layout.logprobs;
  require(cudaMemcpyAsync(host_ + layout.tokens, memory_.data() + layout.tokens, end - layout.tokens,
                          cudaMemcpyDeviceToHost, stream_),
          "cannot fetch the tokens");
  require(cudaStreamSynchronize(stream_), "the step failed on the GPU");
  return collect(layout, rows, stages.logprobs);
}

}  // namespace baton
