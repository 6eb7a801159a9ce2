// Times of the matrix products: decode rows as microseconds and share of the copy bandwidth, counting the
// weight's bytes; prefill rows as TFLOP/s and share of the matrix rate.
//
// A measurement is a graph of products on different weights, so many that L2 holds none of them until its
// turn comes again; the kernels in it overlap as they do in a step.
#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/cuda/matmul.hpp"
#include "matmul_random.cuh"
#include "tensor/cuda/gemm.hpp"

namespace baton::cuda::test {
namespace {

struct Shape {
  int out, in;
  std::size_t elements() const { return static_cast<std::size_t>(out) * in; }
};

constexpr Shape kHot[] = {{6144, 3072}, {3072, 4096}, {18432, 3072}, {3072, 9216}};
constexpr Shape kShapes[] = {{6144, 3072}, {3072, 4096}, {18432, 3072}, {3072, 9216},  {128256, 3072},
                             {6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}, {128256, 4096}};
constexpr int kMostRows = 4000;
constexpr int kMostIn = 14336;
constexpr std::size_t kWeightBytes = std::size_t{128256} * 4096 * 2;
constexpr std::size_t kBeyondL2 = std::size_t{256} << 20;

class Bench {
 public:
  Bench(double copy_gbps, double matrix_tflops)
      : copy_(copy_gbps),
        rate_(matrix_tflops),
        weights_(kWeightBytes),
        x_(std::size_t{kMostRows} * kMostIn * 2),
        y_(std::max(std::size_t{kMostRows} * 28672 * 2, std::size_t{128} * 128256 * 4)),
        scales_(128256 * 4) {
    fill<bf16>(x_.as(), kMostRows, kMostIn, kMostIn, 1, 1.0F);
    fill<float>(scales_.as(), 1, 128256, 128256, 3, 0.01F);
    require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    plain_ = make_gemm();
    tuned_ = make_gemm();
  }
  ~Bench() { cudaStreamDestroy(stream_); }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // Whether the splits that matmul_warpgroup chooses are right.
  void warpgroup() {
    fill<bf16>(weights_.as(), 128256, 4096, 4096, 2, 0.03F);
    std::printf("warpgroup, us (%% of copy)  chosen | splits 1 2 4 8 | cuBLASLt, tuned\n");
    for (const Shape shape : kShapes) {
      const std::size_t bytes = shape.elements() * 2;
      for (const int rows : {8, 16, 30, 64}) {
        const auto show = [&](double us) { std::printf(" %7.2f (%3.0f)", us, share(bytes, us)); };
        std::printf("%6dx%-5d r%-3d", shape.out, shape.in, rows);
        show(skinny(shape, rows, Element::bf16, {.warpgroup = true}));
        std::printf(" |");
        for (const int splits : {1, 2, 4, 8})
          std::printf(" %6.2f", skinny(shape, rows, Element::bf16, {.splits = splits, .warpgroup = true}));
        std::printf(" |");
        tune(shape, rows, GemmScaling::none, std::min(8, copies_of(bytes)));
        show(library(*tuned_, shape, rows, GemmScaling::none, launches_of(bytes)));
        std::printf("\n");
      }
    }
  }

  void all() {
    fill<bf16>(weights_.as(), 128256, 4096, 4096, 2, 0.03F);
    decode();
    warpgroup();
    plans(Element::bf16);
    prefill(GemmScaling::none);
    fill<e4m3>(weights_.as(), 128256, 8192, 8192, 2, 1.0F);
    decode_e4m3();
    plans(Element::e4m3);
    fill<e4m3>(x_.as(), kMostRows, kMostIn, kMostIn, 1, 1.0F);
    prefill(GemmScaling::tensor);
    prefill(GemmScaling::outer);
  }

 private:
  static std::unique_ptr<CublasGemm> make_gemm() {
    auto made = CublasGemm::create();
    if (!made) {
      std::printf("cuBLASLt: %s\n", made.error().message.c_str());
      std::exit(1);
    }
    return std::move(made).value();
  }

  static int copies_of(std::size_t bytes) {
    const std::size_t fit = kWeightBytes / bytes;
    return static_cast<int>(std::clamp<std::size_t>((kBeyondL2 + bytes - 1) / bytes, 1, fit));
  }
  const void* weight(std::size_t bytes, int index) const {
    return weights_.as<char>() + static_cast<std::size_t>(index % copies_of(bytes)) * bytes;
  }

  // Microseconds of one of `launches` calls in a graph, the best of three times; negative where one cannot be
  // made.
  double time(int launches, const std::function<bool(int)>& call) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t ready = nullptr;
    require(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
    bool good = true;
    for (int i = 0; i < launches && good; ++i) good = call(i);
    if (cudaStreamEndCapture(stream_, &graph) != cudaSuccess || !good) {
      static_cast<void>(cudaGetLastError());
      if (graph != nullptr) cudaGraphDestroy(graph);
      return -1;
    }
    require(cudaGraphInstantiate(&ready, graph, 0), "cudaGraphInstantiate");
    cudaEvent_t start = nullptr, stop = nullptr;
    require(cudaEventCreate(&start), "cudaEventCreate");
    require(cudaEventCreate(&stop), "cudaEventCreate");
    float best = 1e30F;
    constexpr int kGraphs = 3;
    require(cudaGraphLaunch(ready, stream_), "cudaGraphLaunch");
    for (int round = 0; round < 3; ++round) {
      require(cudaEventRecord(start, stream_), "cudaEventRecord");
      for (int i = 0; i < kGraphs; ++i) require(cudaGraphLaunch(ready, stream_), "cudaGraphLaunch");
      require(cudaEventRecord(stop, stream_), "cudaEventRecord");
      require(cudaEventSynchronize(stop), "a graph of products");
      float milliseconds = 0;
      require(cudaEventElapsedTime(&milliseconds, start, stop), "cudaEventElapsedTime");
      best = std::min(best, milliseconds);
    }
    cudaEventDestroy(start), cudaEventDestroy(stop);
    cudaGraphExecDestroy(ready), cudaGraphDestroy(graph);
    return best * 1000.0 / (kGraphs * launches);
  }

  // Products that take about half a millisecond, so that the pause between graphs does not count.
  int launches_of(std::size_t bytes) const {
    return std::max(2, static_cast<int>(copy_ * 1e9 * 500e-6 / static_cast<double>(bytes)));
  }

  double share(std::size_t bytes, double us) const {
    return 100.0 * static_cast<double>(bytes) / us / 1e3 / copy_;
  }

  // What a plan may choose; as it stands here, what is chosen by the shape, and no weight asked for ahead.
  struct Choice {
    int splits = 0;
    int lead = 6;
    bool small_ring = false;
    bool few = false;
    bool warpgroup = false;
  };

  double skinny(Shape shape, int rows, Element weight_type, const Choice& choice) {
    const std::size_t bytes = shape.elements() * size_of(weight_type);
    MatmulArguments a;
    a.x = x_.as(), a.x_stride = shape.in;
    a.scale = scales_.as<float>();
    a.y = y_.as(), a.y_stride = shape.out;
    a.rows = rows, a.out = shape.out, a.in = shape.in;
    a.weight_type = weight_type;
    a.result = shape.out == 128256 ? Element::f32 : Element::bf16;
    a.splits = choice.splits, a.lead = choice.lead, a.small_ring = choice.small_ring;
    return time(launches_of(bytes), [&](int i) {
      a.weight = weight(bytes, i);
      const auto product = choice.warpgroup ? matmul_warpgroup : choice.few ? matmul_few : matmul_skinny;
      return product(a, stream_) == cudaSuccess;
    });
  }

  GemmCall call_of(Shape shape, int rows, GemmScaling scaling, int index) const {
    GemmCall call;
    call.x = x_.as(), call.x_stride = shape.in;
    call.weight = weight(shape.elements() * (scaling == GemmScaling::none ? 2 : 1), index);
    call.y = y_.as(), call.y_stride = shape.out;
    call.rows = rows, call.out = shape.out, call.in = shape.in;
    call.result = shape.out == 128256 ? DType::f32 : DType::bf16;
    call.scaling = scaling;
    call.x_scale = call.weight_scale = scales_.as<float>();
    return call;
  }

  double library(CublasGemm& gemm, Shape shape, int rows, GemmScaling scaling, int launches) {
    if (!gemm.product(call_of(shape, rows, scaling, 0), stream_))
      return -1;  // chooses, outside of the capture
    return time(launches, [&](int i) {
      return static_cast<bool>(gemm.product(call_of(shape, rows, scaling, i), stream_));
    });
  }

  void tune(Shape shape, int rows, GemmScaling scaling, int calls) {
    std::vector<GemmCall> some;
    for (int i = 0; i < calls; ++i) some.push_back(call_of(shape, rows, scaling, i));
    if (const auto tuned = tuned_->tune(some, stream_); !tuned)
      std::printf("tune: %s\n", tuned.error().message.c_str());
  }

  void decode() {
    std::printf(
        "bf16, us (%% of copy)   few, one output  few, two           skinny         heuristic          "
        "tuned\n");
    for (const Shape shape : kShapes) {
      const std::size_t bytes = shape.elements() * 2;
      for (const int rows : {1, 2, 4, 8, 16, 32, 64}) {
        const bool is_few = rows <= kMostFewRows;
        const double one = is_few ? skinny(shape, rows, Element::bf16, {.splits = 1, .few = true}) : 0.0;
        const double two = is_few ? skinny(shape, rows, Element::bf16, {.splits = 2, .few = true}) : 0.0;
        const double own = skinny(shape, rows, Element::bf16, {});
        const int launches = launches_of(bytes);
        const double plain = library(*plain_, shape, rows, GemmScaling::none, launches);
        tune(shape, rows, GemmScaling::none, std::min(8, copies_of(bytes)));
        const double tuned = library(*tuned_, shape, rows, GemmScaling::none, launches);
        std::printf("%6dx%-5d r%-3d %9.2f (%3.0f) %9.2f (%3.0f) %9.2f (%3.0f) %9.2f (%3.0f) %9.2f (%3.0f)\n",
                    shape.out, shape.in, rows, one, is_few ? share(bytes, one) : 0.0, two,
                    is_few ? share(bytes, two) : 0.0, own, share(bytes, own), plain, share(bytes, plain),
                    tuned, share(bytes, tuned));
      }
    }
  }

  // Whether what is chosen by the shape is right.
  void plans(Element weight_type) {
    std::printf("skinny %s, us by splits 1 2 4 | lead 0 3 12 | small ring\n",
                weight_type == Element::bf16 ? "bf16" : "e4m3");
    for (const Shape shape : kHot) {
      for (const int rows : {1, 8, 16}) {
        std::printf("%6dx%-5d r%-3d", shape.out, shape.in, rows);
        const auto show = [&](const Choice& choice) {
          std::printf(" %6.2f", skinny(shape, rows, weight_type, choice));
        };
        for (const int splits : {1, 2, 4}) show({.splits = splits});
        std::printf(" |");
        for (const int lead : {0, 3, 12}) show({.lead = lead});
        std::printf(" |");
        show({.small_ring = true});
        std::printf("\n");
      }
    }
  }

  void decode_e4m3() {
    std::printf("skinny e4m3 weights, us (%% of copy) for rows 1, 8, 16, 64\n");
    for (const Shape shape : kShapes) {
      std::printf("%6dx%-5d", shape.out, shape.in);
      for (const int rows : {1, 8, 16, 64}) {
        const double us = skinny(shape, rows, Element::e4m3, {});
        std::printf(" %8.2f (%3.0f)", us, share(shape.elements(), us));
      }
      std::printf("\n");
    }
  }

  void prefill(GemmScaling scaling) {
    const bool small = scaling != GemmScaling::none;
    const double rate = small ? 2 * rate_ : rate_;
    std::printf("cuBLASLt %s, us TFLOP/s (%% of %.0f): heuristic | tuned\n",
                !small                           ? "bf16"
                : scaling == GemmScaling::tensor ? "e4m3 per tensor"
                                                 : "e4m3 per row and channel",
                rate);
    for (const Shape shape : kHot) {
      for (const int rows : {16, 32, 64, 256, 512, 1024, kMostRows}) {
        const double flop = 2.0 * static_cast<double>(shape.elements()) * rows;
        const int launches = std::max(2, static_cast<int>(rate * 1e12 * 500e-6 / flop));
        const double plain = library(*plain_, shape, rows, scaling, launches);
        if (plain < 0) {
          std::printf("%6dx%-5d r%-4d unsupported\n", shape.out, shape.in, rows);
          continue;
        }
        tune(shape, rows, scaling, 4);
        const double tuned = library(*tuned_, shape, rows, scaling, launches);
        std::printf("%6dx%-5d r%-4d", shape.out, shape.in, rows);
        for (const double us : {plain, tuned}) {
          std::printf(" %8.1f %6.0f (%3.0f)", us, flop / us / 1e6, 100 * flop / us / 1e6 / rate);
        }
        std::printf("\n");
      }
    }
  }

  double copy_;
  double rate_;
  Memory weights_, x_, y_, scales_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<CublasGemm> plain_;
  std::unique_ptr<CublasGemm> tuned_;
};

}  // namespace

void matmul_bench(double copy_gbps, double matrix_tflops) { Bench(copy_gbps, matrix_tflops).all(); }

}  // namespace baton::cuda::test
