#include "ops.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "adapters.hpp"
#include "experts.hpp"
#include "kernels/cuda/rope_store.hpp"
#include "runtime.hpp"
#include "tensor/adapters.hpp"
#include "tensor/backend_cuda.hpp"
#include "views.hpp"

namespace baton {
namespace {

constexpr std::size_t kMostRecordedRows = 512;

struct PreparedRope {
  Buffer cos_sin;  // [max_positions][head_dim / 2] float2
  std::int32_t half = 0;
  const float2* data() const { return reinterpret_cast<const float2*>(cos_sin.data()); }
};

std::int32_t window_on_gpu(std::int32_t window) { return window > 0 ? window : cuda::kNoWindow; }

const float2* rotations(const void* prepared) { return static_cast<const PreparedRope*>(prepared)->data(); }

bool one_row_each(const Batch& batch) {
  return batch.sequences.size() == batch.tokens.size() && batch.logit_rows.size() == batch.tokens.size();
}

// Few recordings, little padding: steps of 1, 2, 4, then of 8 rows, then of a sixteenth of the size.
std::size_t bucket(std::size_t rows) {
  if (rows <= 2) return rows;
  if (rows <= 4) return 4;
  std::size_t unit = 8;
  while (unit * 16 < rows) unit *= 2;
  return (rows + unit - 1) / unit * unit;
}

}  // namespace

Result<GpuInfo> CudaOps::choose_gpu(Device device) {
  const auto gpus = list_gpus();
  if (!gpus) return gpus.error();
  if (device.index < 0 || static_cast<std::size_t>(device.index) >= gpus->size())
    return make_error(ErrorCode::unsupported,
                      "there is no GPU " + std::to_string(device.index) + "; this machine has " +
                          std::to_string(gpus->size()),
                      "device");
  const GpuInfo& gpu = (*gpus)[static_cast<std::size_t>(device.index)];
  if (gpu.compute_capability < 80)
    return make_error(ErrorCode::unsupported, gpu.name + " is older than compute capability 8.0", "device");
  return gpu;
}

Result<std::unique_ptr<CudaOps>> CudaOps::make(const OpsOptions& options, GroupPlace place,
                                               const CudaExchange* exchange) {
  const auto gpu = choose_gpu(options.device);
  if (!gpu) return gpu.error();
  std::unique_ptr<CudaOps> ops(new CudaOps(options, *gpu, place, exchange));
  if (auto started = ops->start(); !started) return std::move(started).error();
  return ops;
}

CudaOps::CudaOps(const OpsOptions& options, const GpuInfo& gpu, GroupPlace place,
                 const CudaExchange* exchange)
    : device_(options.device),
      gpu_(gpu),
      place_(place),
      exchange_(exchange),
      activations_fixed_(options.activations.has_value()),
      deterministic_(options.deterministic),
      activations_(options.activations.value_or(DType::bf16)),
      workspace_(options.device) {}

// A build has kernels for some compute capabilities; the others are found out by asking for one.
Result<void> CudaOps::has_kernels() {
  auto memory = Buffer::allocate(device_, 256);
  if (!memory) return std::move(memory).error();
  const cuda::Rows one{memory->data(), 1, 1, 1, cuda::Element::f32};
  cudaError_t ran = cuda::add(one, one, stream_);
  if (ran == cudaSuccess) ran = cudaStreamSynchronize(stream_);
  if (ran == cudaSuccess) return {};
  cudaGetLastError();
  return make_error(ErrorCode::unsupported,
                    "this build has no kernels for " + gpu_.name + " (compute capability " +
                        std::to_string(gpu_.compute_capability / 10) + "." +
                        std::to_string(gpu_.compute_capability % 10) + "): " + cudaGetErrorString(ran),
                    "device");
}

Result<void> CudaOps::start() {
  if (const cudaError_t set = cudaSetDevice(device_.index); set != cudaSuccess)
    return cuda_error(set, "cannot use GPU " + std::to_string(device_.index));
  if (const cudaError_t made = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
      made != cudaSuccess)
    return cuda_error(made, "cannot make a stream");
  if (auto kernels = has_kernels(); !kernels) return kernels;
  auto gemm = CublasGemm::create();
  if (!gemm) return std::move(gemm).error();
  gemm_ = *std::move(gemm);
  try {
    step_ = std::make_unique<StepUpload>(device_, stream_);
    sampler_ = std::make_unique<DeviceSampler>(device_, stream_);
  } catch (const DeviceFailure& failure) {
    return make_error(ErrorCode::unavailable, failure.what());
  }
  return {};
}

CudaOps::~CudaOps() {
  const CurrentDevice current(device_.index);
  if (stream_) cudaStreamSynchronize(stream_);
  drop_recordings();
  sampler_.reset();
  step_.reset();
  gemm_.reset();
  if (stream_) cudaStreamDestroy(stream_);
}

std::string CudaOps::numerics_id() const {
  return "cuda/sm" + std::to_string(gpu_.compute_capability) + "/" + std::string(to_string(activations_)) +
         (rounds_rows_ ? "/fp8" : "") + (deterministic_ ? "/deterministic" : "") +
         (deterministic_ && has_adapters_ && activations_ != DType::f32 ? "/adapters" : "") +
         (place_.width > 1 ? "/tp" + std::to_string(place_.width) : "");
}

Result<void> CudaOps::begin_model(const ModelTypes& types) {
  fp8_products_ = types.fp8_products;
  rounds_rows_ = false;
  has_adapters_ = false;
  code_products_.clear();
  step_->set_window(window_on_gpu(types.window));
  if (activations_fixed_) return {};
  if (types.weights == DType::i32 || types.weights == DType::e4m3)
    return make_error(ErrorCode::unsupported,
                      "models with weights of type " + std::string(to_string(types.weights)));
  activations_ = types.weights;
  return {};
}

Result<Linear> CudaOps::pack(std::span<const WeightView> weights) {
  auto body = pack_on_gpu(device_, weights, activations_, codes_of(weights));
  if (!body) return std::move(body).error();
  const bool codes = (*body)->element == cuda::Element::e4m3;
  rounds_rows_ = rounds_rows_ || (codes && activations_ != DType::f32 && !deterministic_);
  return Linear(*std::move(body));
}

Result<Linear> CudaOps::adapt(const Linear& weight, std::span<const AdapterView> adapters) {
  if (auto fits = check_adapters(weight.out(), weight.in(), adapters); !fits) return std::move(fits).error();
  auto packed = pack_adapters_on_gpu(device_, adapters, activations_);
  if (!packed) return std::move(packed).error();
  has_adapters_ = has_adapters_ || *packed != nullptr;
  drop_recordings();  // of the weight as it was; its sizes, too, are settled anew
  seen_.clear();
  return Linear(weight, *std::move(packed));
}

Result<Linear> CudaOps::pack_vector(const WeightView& weight) {
  auto body = pack_vector_on_gpu(device_, weight);
  if (!body) return std::move(body).error();
  return Linear(*std::move(body));
}

Result<Experts> CudaOps::pack_experts(std::span<const ExpertView> experts) {
  auto body = pack_experts_on_gpu(device_, experts, activations_);
  if (!body) return std::move(body).error();
  return Experts(*std::move(body));
}

Result<std::shared_ptr<const void>> CudaOps::prepare_rope(const RopeTable& table) {
  if (table.inv_frequency.empty())
    return make_error(ErrorCode::invalid_argument, "a rotary embedding has no frequencies", "inv_frequency");
  auto prepared = std::make_shared<PreparedRope>();
  const std::size_t half = table.inv_frequency.size();
  if (2 * half > static_cast<std::size_t>(cuda::kMaxHeadDim))
    return make_error(ErrorCode::unsupported,
                      "head_dim is " + std::to_string(2 * half) + "; on a GPU at most " +
                          std::to_string(cuda::kMaxHeadDim) + " is supported",
                      "head_dim");
  const auto positions = static_cast<std::size_t>(std::max(table.max_positions, 1));
  prepared->half = static_cast<std::int32_t>(half);
  std::vector<float2> values(positions * half);
  for (std::size_t position = 0; position < positions; ++position) {
    for (std::size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * static_cast<double>(table.inv_frequency[i]);
      const double scale = table.inv_frequency[i] == 0.0F ? 1.0 : static_cast<double>(table.scale);
      values[position * half + i] = {static_cast<float>(std::cos(angle) * scale),
                                     static_cast<float>(std::sin(angle) * scale)};
    }
  }
  auto memory = Buffer::allocate(device_, values.size() * sizeof(float2));
  if (!memory) return std::move(memory).error();
  prepared->cos_sin = *std::move(memory);
  const CurrentDevice current(device_.index);
  const cudaError_t copied = cudaMemcpy(prepared->cos_sin.data(), values.data(),
                                        values.size() * sizeof(float2), cudaMemcpyHostToDevice);
  if (copied != cudaSuccess || cudaStreamSynchronize(nullptr) != cudaSuccess)
    return cuda_error(copied, "cannot copy the rotary table to the GPU");
  return std::shared_ptr<const void>(std::move(prepared));
}

std::size_t CudaOps::scope_begin() {
  ++open_scopes_;
  return workspace_.mark();
}

void CudaOps::scope_end(std::size_t mark) {
  --open_scopes_;
  workspace_.release(mark);
}

Tensor CudaOps::allocate(std::int64_t rows, std::int64_t cols, DType dtype) {
  const auto bytes = static_cast<std::size_t>(rows * cols) * size_of(dtype);
  return {workspace_.allocate(std::max<std::size_t>(bytes, 1)), dtype, rows, cols, cols};
}

Tensor CudaOps::allocate_codes(std::int64_t rows, std::int64_t cols) {
  return {workspace_.allocate(std::max<std::size_t>(bytes_of_codes(rows, cols), 1)), DType::e4m3, rows, cols,
          cols};
}

void CudaOps::begin_step(const Batch& batch, const KvView& kv) {
  require(cudaSetDevice(device_.index),
          "cannot use the GPU");  // in this thread: the engine's, not that of start()
  require_group();                // else the others would wait until they lose their patience
  batch_tokens_ = batch.tokens;
  batch_logit_rows_ = batch.logit_rows;
  batch_adapters_ = batch.adapters;
  batch_logit_adapters_ = batch.logit_adapters;
  kv_ = kv;
  host_.release(0);
  if (open_scopes_ == 0) workspace_.release(0);
  if (!recording_) step_->upload(batch);
}

const std::int32_t* CudaOps::on_device(std::span<const std::int32_t> values) {
  const auto is = [&](std::span<const std::int32_t> part) {
    return !part.empty() && values.data() == part.data() && values.size() == part.size();
  };
  if (is(batch_tokens_)) return step_->tokens();
  if (is(batch_logit_rows_)) return step_->logit_rows();
  auto* copy = static_cast<std::int32_t*>(workspace_.allocate(std::max<std::size_t>(values.size_bytes(), 1)));
  require(cudaMemcpyAsync(copy, values.data(), values.size_bytes(), cudaMemcpyHostToDevice, stream_),
          "cannot copy indices");
  require(cudaStreamSynchronize(stream_), "cannot copy indices");  // `values` may be gone afterwards
  return copy;
}

Tensor CudaOps::embed(const Linear& table, std::span<const std::int32_t> tokens) {
  const CudaMatrix& weight = matrix_of(table);
  const Tensor y = allocate(static_cast<std::int64_t>(tokens.size()), weight.in);
  const cuda::ConstRows rows{weight.weight.data(), weight.in, static_cast<std::int32_t>(weight.out),
                             static_cast<std::int32_t>(weight.in), weight.element};
  require(cuda::embed(rows, on_device(tokens), rows_of(y), stream_), "embed");
  return y;
}

Tensor CudaOps::gather_rows(const Tensor& x, std::span<const std::int32_t> rows) {
  const Tensor y = allocate(static_cast<std::int64_t>(rows.size()), x.cols, x.dtype);
  require(cuda::gather(rows_of(x), on_device(rows), rows_of(y), stream_), "gather_rows");
  return y;
}

Tensor CudaOps::rms_norm(const Tensor& x, const Linear& weight, float epsilon) {
  const Tensor y = allocate(x.rows, x.cols, x.dtype);
  require(cuda::rms_norm(rows_of(x), vector_of(weight).data(), epsilon, rows_of(y), nullptr, stream_),
          "rms_norm");
  return y;
}

void CudaOps::head_norm(Tensor heads, const Linear& weight, float epsilon) {
  const std::int64_t head_dim = weight.in();
  for (std::int64_t first = 0; first < heads.cols; first += head_dim) {
    const cuda::Rows head = rows_of(heads.columns(first, head_dim));
    require(cuda::rms_norm(head, vector_of(weight).data(), epsilon, head, nullptr, stream_), "head_norm");
  }
}

Tensor CudaOps::add(Tensor x, const Tensor& y) {
  require(cuda::add(rows_of(x), rows_of(y), stream_), "add");
  return x;
}

Tensor CudaOps::add_rms_norm(Tensor x, const Tensor& y, float factor, const Linear& weight, float epsilon,
                             const Tensor& room, const Linear* next) {
  const bool codes = takes_codes(next, x.rows);
  const Tensor normed = codes ? Tensor{room.data, DType::e4m3, room.rows, room.cols, room.cols} : room;
  require(cuda::add_rms_norm(rows_of(x), rows_of(y), factor, vector_of(weight).data(), epsilon,
                             rows_of(normed), codes ? scales_of(normed) : nullptr, stream_),
          "add_rms_norm");
  return normed;
}

Tensor CudaOps::gate_mul(const Tensor& gate_up, Activation activation) {
  const Tensor y = allocate(gate_up.rows, gate_up.cols / 2, gate_up.dtype);
  require(cuda::gate_mul(gate_of(activation), rows_of(gate_up), rows_of(y), nullptr, stream_), "gate_mul");
  return y;
}

cuda::PagedKv CudaOps::layer_of(std::int32_t layer) const {
  const KvLayout& layout = kv_.layout;
  return {kv_.piece(0, layer, 0, 0),
          static_cast<std::int64_t>(layout.block_bytes()),
          static_cast<std::int64_t>(layout.head_bytes()),
          static_cast<std::int64_t>(layout.layer_bytes() / 2),
          layout.kv_heads,
          layout.head_dim,
          layout.block_size,
          element_on_gpu(layout.dtype)};
}

void CudaOps::rope(Tensor heads, std::int32_t head_dim, const void* prepared) {
  require(cuda::rope(rows_of(heads), head_dim, step_->tables().positions, rotations(prepared), stream_),
          "rope");
}

void CudaOps::store_kv(KvPlace place, const Tensor& k, const Tensor& v) {
  require(cuda::store_kv(rows_of(k), rows_of(v), step_->tables(place.group), layer_of(place.layer), stream_),
          "store_kv");
}

Tensor CudaOps::rope_store(KvPlace place, const Tensor& qkv, const AttentionShape& shape,
                           const void* prepared, const HeadNorms& norms) {
  cuda::RopeStore args;
  args.qkv = rows_of(qkv);
  args.query_heads = shape.query_heads;
  args.cos_sin = rotations(prepared);
  args.step = step_->tables(place.group);
  args.kv = layer_of(place.layer);
  if (norms.query) args.query_norm = vector_of(*norms.query).data();
  if (norms.key) args.key_norm = vector_of(*norms.key).data();
  args.norm_epsilon = norms.epsilon;
  require(cuda::rope_store(args, stream_), "rope_store");
  return qkv.columns(0, std::int64_t{shape.query_heads} * shape.head_dim);
}

// Zeroed when it is made; each launch leaves its counters zero. Where they lie depends on all of this, so
// what was partial results for one shape never becomes counters for another.
void* CudaOps::attention_workspace(const AttentionShape& shape) {
  const PartialsShape wanted{step_->decode_item_capacity(), shape.query_heads, shape.kv_heads,
                             shape.head_dim};
  if (partials_shape_ != wanted) {
    require(cudaStreamSynchronize(stream_), "waiting for the step before");
    auto memory = Buffer::allocate(device_, cuda::decode_workspace_bytes(wanted.items, wanted.query_heads,
                                                                         wanted.kv_heads, wanted.head_dim));
    if (!memory) throw std::bad_alloc();
    partials_ = *std::move(memory);
    partials_shape_ = wanted;
    drop_recordings();
  }
  return partials_.data();
}

Tensor CudaOps::attention(KvPlace place, const Tensor& q, const AttentionShape& shape) {
  const bool windowed = shape.window > 0;
  assert(!windowed || shape.window == step_->window());
  const Tensor y = allocate(q.rows, q.cols, q.dtype);
  const cuda::AttentionRows rows{q.data,
                                 y.data,
                                 q.stride,
                                 shape.query_heads,
                                 element_on_gpu(q.dtype),
                                 shape.scale,
                                 window_on_gpu(shape.window),
                                 shape.sinks ? vector_of(*shape.sinks).data() : nullptr};
  if (recording_ || step_->has_decode_rows()) {
    cuda::DecodeAttention decode;
    decode.rows = rows;
    decode.kv = layer_of(place.layer);
    decode.tables = step_->tables(place.group);
    decode.items = step_->decode_items(windowed);
    decode.item_count = step_->decode_item_count(windowed);
    decode.max_items = step_->decode_item_capacity();
    decode.workspace = attention_workspace(shape);
    require(cuda::decode_attention(decode, stream_), "decode attention");
  }
  if (step_->prefill_tile_count() > 0) {
    cuda::PrefillAttention prefill;
    prefill.rows = rows;
    prefill.kv = layer_of(place.layer);
    prefill.tables = step_->tables(place.group);
    prefill.tiles = step_->prefill_tiles();
    prefill.tile_count = step_->prefill_tile_count();
    require(cuda::prefill_attention(prefill, stream_), "prefill attention");
  }
  return y;
}

std::optional<std::vector<RowSample>> CudaOps::sample(const Tensor& logits,
                                                      std::span<const RowSampling> rows) {
  assert(logits.dtype == DType::f32 && logits.rows == static_cast<std::int64_t>(rows.size()));
  if (rows.empty() || !DeviceSampler::can(logits, rows)) return std::nullopt;
  auto samples = sampler_->sample(logits, rows);
  require_group();
  return samples;
}

// The first wait may say what the step did; an error that the second one says, too, stays until the process
// ends.
bool CudaOps::settle() noexcept {
  cudaStreamSynchronize(stream_);
  cudaGetLastError();
  const bool works = cudaStreamSynchronize(stream_) == cudaSuccess;
  cudaGetLastError();
  return works;
}

std::span<const float> CudaOps::to_host(const Tensor& x) {
  const auto count = static_cast<std::size_t>(x.rows * x.cols);
  Tensor values = x;
  const std::size_t mark = workspace_.mark();
  if (x.dtype != DType::f32) {
    values = allocate(x.rows, x.cols, DType::f32);
    require(cuda::to_float(rows_of(x), rows_of(values), stream_), "to_float");
  }
  float* copy = host_.floats(count);
  const std::size_t row_bytes = static_cast<std::size_t>(x.cols) * sizeof(float);
  if (count > 0)
    require(cudaMemcpy2DAsync(copy, row_bytes, values.data,
                              static_cast<std::size_t>(values.stride) * sizeof(float), row_bytes,
                              static_cast<std::size_t>(x.rows), cudaMemcpyDeviceToHost, stream_),
            "cannot copy a result to the host");
  workspace_.release(mark);
  require(cudaStreamSynchronize(stream_), "the step failed on the GPU");
  require_group();
  return {copy, count};
}

// --- Recorded steps
// ---------------------------------------------------------------------------------------------

const Batch& CudaOps::pad(const Batch& batch, std::size_t rows) {
  padded_ = batch;
  for (auto row = static_cast<std::int32_t>(batch.tokens.size()); row < static_cast<std::int32_t>(rows);
       ++row) {
    padded_.tokens.push_back(0);
    padded_.positions.push_back(-1);
    padded_.sequences.push_back({row, 1, -1, 0});
    padded_.logit_rows.push_back(row);
  }
  if (!batch.adapters.empty()) {
    padded_.adapters.resize(rows, -1);
    padded_.logit_adapters.resize(rows, -1);
  }
  return padded_;
}

void CudaOps::drop_recordings() {
  for (auto& [shape, recording] : recordings_) cudaGraphExecDestroy(recording.graph);
  recordings_.clear();
}

cudaGraphExec_t CudaOps::record(const Batch& batch, const std::function<Tensor(const Batch&)>& forward,
                                Tensor& result) {
  struct Off {
    bool& on;
    ~Off() { on = false; }
  } const off{recording_};
  require(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "cannot record a step");
  recording_ = true;
  cudaGraph_t graph = nullptr;
  try {
    result = forward(batch);
  } catch (...) {
    cudaStreamEndCapture(stream_, &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  require(cudaStreamEndCapture(stream_, &graph), "cannot end the recording of a step");
  cudaGraphExec_t made = nullptr;
  const cudaError_t instantiated = cudaGraphInstantiate(&made, graph, 0);
  cudaGraphDestroy(graph);
  require(instantiated, "cannot instantiate a recorded step");
  return made;
}

Tensor CudaOps::run_step(const Batch& batch, const KvView& kv,
                         const std::function<Tensor(const Batch&)>& forward) {
  if (open_scopes_ != 0 || batch.tokens.empty() || batch.tokens.size() > kMostRecordedRows ||
      !one_row_each(batch))
    return forward(batch);
  const std::size_t rows = bucket(batch.tokens.size());
  const StepShape shape{rows, !batch.adapters.empty()};
  const Batch& padded = pad(batch, rows);
  const auto result_of = [&](Tensor result) {
    result.rows = static_cast<std::int64_t>(batch.tokens.size());
    return result;
  };
  // The first step of a size runs plainly: it loads kernels and settles the size of everything. Counted once
  // it is done.
  const auto plainly = [&] {
    const Tensor result = result_of(forward(padded));
    seen_.insert(shape);
    return result;
  };
  if (!seen_.contains(shape)) return plainly();
  begin_step(padded, kv);
  if (recorded_generation_ != step_->generation() || recorded_capacity_ != workspace_.capacity() ||
      recorded_kv_ != kv.base || recorded_layout_ != kv.layout) {
    // What recordings point at has moved, or will: every size is run plainly once more, since nothing may be
    // allocated while a step is recorded.
    drop_recordings();
    recorded_generation_ = step_->generation();
    recorded_capacity_ = workspace_.capacity();
    recorded_kv_ = kv.base;
    recorded_layout_ = kv.layout;
    seen_.clear();
    return plainly();
  }
  auto known = recordings_.find(shape);
  if (known == recordings_.end()) {
    Recording recording;
    seen_.erase(shape);  // where recording fails, the next step of this size runs plainly again
    recording.graph = record(padded, forward, recording.result);
    seen_.insert(shape);
    known = recordings_.emplace(shape, recording).first;
  }
  require(cudaGraphLaunch(known->second.graph, stream_), "cannot launch a recorded step");
  return result_of(known->second.result);
}

Result<std::unique_ptr<Ops>> make_cuda_ops(const OpsOptions& options) {
  auto made = CudaOps::make(options);
  if (!made) return std::move(made).error();
  return std::unique_ptr<Ops>(*std::move(made));
}

}  // namespace baton
