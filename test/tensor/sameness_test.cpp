// The Ops contract, part two: a row's result depends on nothing but the row (DESIGN 6). Every comparison is
// bit for bit.
#include <algorithm>

#include "ops_contract.hpp"

namespace baton::test {
namespace {

constexpr std::int64_t kRows = 512;

// What `apply` makes of all rows at once equals, row for row, what it makes of them in any pieces.
template <class Apply>
void check_rows(Ops& ops, const Tensor& x, const Matrix& want, unsigned seed, Apply&& apply) {
  std::mt19937 engine(seed);
  for (const std::int64_t longest : {1, 3, 8, 40, 200}) {
    std::int64_t first = 0;
    for (const std::int64_t rows : random_cuts(x.rows, longest, engine)) {
      const Ops::Scope scope(ops);
      const auto values = ops.to_host(apply(rows_of(x, first, rows)));
      if (!same_bits(values.data(), &want.values[static_cast<std::size_t>(first * want.cols)],
                     rows * want.cols)) {
        FAIL("rows " << first << " to " << first + rows << " differ");
      }
      first += rows;
    }
    const Batch batch;
    ops.begin_step(batch, {});  // frees what to_host returned
  }
}

}  // namespace

TEST_CASE("a row of a product is the same alone and among 512, on any number of threads") {
  struct Shape {
    DType dtype;
    std::int64_t in, out;
  };
  for (const OpsOptions& options : backends()) {
    for (const Shape shape :
         {Shape{DType::bf16, 300, 211}, Shape{DType::f32, 64, 520}, Shape{DType::f16, 521, 33}}) {
      INFO(options.isa << " " << shape.in << "x" << shape.out);
      const Weight weight(shape.dtype, shape.out, shape.in, 1), bias(shape.dtype, 1, shape.out, 2);
      WeightView view = weight.view();
      view.bias = bias.view().data;
      const Matrix x = Matrix::random(kRows, shape.in, 3);
      Matrix want;
      for (const int threads : {1, 2, 4}) {
        auto ops = require_ops(options, threads);
        const Ops::Scope scope(*ops);
        const Linear packed = require_pack(*ops, {&view, 1});
        const Tensor rows = upload(*ops, x);
        const Matrix all = download(*ops, ops->matmul(rows, packed));
        if (threads == 1) want = all;
        REQUIRE(same_bits(all.values.data(), want.values.data(), kRows * shape.out));
        check_rows(*ops, rows, want, static_cast<unsigned>(threads),
                   [&](const Tensor& part) { return ops->matmul(part, packed); });
      }
    }
  }
}

TEST_CASE("rms_norm and gate_mul of a row are the same alone and among 512") {
  for (const OpsOptions& options : backends()) {
    const Weight weight(DType::f32, 1, 130, 1);
    const Matrix x = Matrix::random(kRows, 130, 2, 4.0F);
    Matrix normed, gated;
    for (const int threads : {1, 4}) {
      auto ops = require_ops(options, threads);
      const Ops::Scope scope(*ops);
      auto scale = ops->pack_vector(weight.view());
      REQUIRE(scale.has_value());
      const auto norm = [&](const Tensor& part) { return ops->rms_norm(part, *scale, 1e-6F); };
      const auto gate = [&](const Tensor& part) { return ops->gate_mul(part, Activation::silu); };
      const Tensor rows = upload(*ops, x);
      if (threads == 1) {
        normed = download(*ops, norm(rows));
        gated = download(*ops, gate(rows));
      }
      check_rows(*ops, rows, normed, 7, norm);
      check_rows(*ops, rows, gated, 8, gate);
    }
  }
}

namespace {

struct AttentionCase {
  AttentionShape shape;
  DType dtype = DType::bf16;
  std::int64_t tokens = 0;
  Matrix q, k, v;

  AttentionCase(AttentionShape s, DType d, std::int64_t n, unsigned seed)
      : shape(s),
        dtype(d),
        tokens(n),
        q(Matrix::random(n, s.query_heads * s.head_dim, seed, 4.0F)),
        k(Matrix::random(n, s.kv_heads * s.head_dim, seed + 1)),
        v(Matrix::random(n, s.kv_heads * s.head_dim, seed + 2)) {}
};

struct Run {
  std::int32_t block_size = 16;
  int threads = 1;
  std::int64_t longest_chunk = 1 << 20;
  bool neighbour = false;  // another sequence in the same batches
  bool second = false;     // the cache has two groups of blocks, and this layer is of the second
  bool leaves = false;     // blocks that the window has left are somebody else's now
  unsigned seed = 1;
};

RopeTable rope_table(std::int32_t head_dim) {
  RopeTable table{.max_positions = 4096};
  for (std::int32_t i = 0; i < head_dim / 2; ++i) {
    table.inv_frequency.push_back(1.0F / static_cast<float>(1 + 3 * i));
  }
  return table;
}

// As an engine does: where there is no block any more, the next one of the sequence.
void leave_behind(std::vector<std::int32_t>& table, const KvGroups& groups, std::int64_t position,
                  std::int32_t block_size) {
  const std::int32_t seen = groups.first_seen_block(static_cast<std::int32_t>(position), block_size);
  std::fill_n(table.begin(), seen, table[static_cast<std::size_t>(seen)]);
}

// rope, store_kv and attention over the whole sequence, in chunks.
Matrix attend(const OpsOptions& options, const AttentionCase& c, const Run& run) {
  auto ops = require_ops(options, run.threads);
  REQUIRE(ops->begin_model({.weights = DType::f32, .window = c.shape.window}).has_value());
  const Ops::Scope scope(*ops);
  const KvLayout layout{.dtype = c.dtype,
                        .layers = 1,
                        .kv_heads = c.shape.kv_heads,
                        .head_dim = c.shape.head_dim,
                        .block_size = run.block_size};
  KvPool pool(*ops, layout, static_cast<std::int32_t>(2 * c.tokens / run.block_size + 4), run.seed);
  auto table = pool.table(c.tokens);
  const auto other = pool.table(c.tokens);
  const KvPlace place(0, run.second ? 1 : 0);
  auto prepared = ops->prepare_rope(rope_table(c.shape.head_dim));
  REQUIRE(prepared.has_value());
  const Tensor q = upload(*ops, c.q), k = upload(*ops, c.k), v = upload(*ops, c.v);
  std::mt19937 engine(run.seed);
  Matrix out(c.tokens, q.cols);
  std::int64_t first = 0;
  for (const std::int64_t rows : random_cuts(c.tokens, run.longest_chunk, engine)) {
    Batch batch;
    const std::int64_t before = run.neighbour ? std::min<std::int64_t>(first + rows, 1 + engine() % 9) : 0;
    if (before > 0) append_rows(batch, other, first + rows - before, before);
    if (run.leaves) leave_behind(table, KvGroups{0, 1, c.shape.window}, first, run.block_size);
    append_rows(batch, table, first, rows);
    if (run.second) {
      const std::vector<std::int32_t> of_the_second = batch.block_table;
      std::ranges::fill(batch.block_table, other.front());
      batch.block_table.insert(batch.block_table.end(), of_the_second.begin(), of_the_second.end());
      batch.kv_groups = 2;
    }
    ops->begin_step(batch, pool.view());
    const Ops::Scope step(*ops);
    std::vector<std::int32_t> picked;
    for (std::int64_t i = 0; i < before; ++i)
      picked.push_back(static_cast<std::int32_t>((first * 7 + i) % c.tokens));
    for (std::int64_t i = 0; i < rows; ++i) picked.push_back(static_cast<std::int32_t>(first + i));
    const Tensor step_q = ops->gather_rows(q, picked), step_k = ops->gather_rows(k, picked);
    ops->rope(step_q, c.shape.head_dim, prepared->get());
    ops->rope(step_k, c.shape.head_dim, prepared->get());
    ops->store_kv(place, step_k, ops->gather_rows(v, picked));
    const auto values = ops->to_host(rows_of(ops->attention(place, step_q, c.shape), before, rows));
    std::copy(values.begin(), values.end(), out.values.begin() + first * q.cols);
    first += rows;
  }
  return out;
}

}  // namespace

TEST_CASE("attention is the same for any chunking, block size, batch and number of threads") {
  for (const OpsOptions& options : backends()) {
    for (const AttentionCase& c : {AttentionCase({8, 2, 16, 0.25F}, DType::bf16, 300, 1),
                                   AttentionCase({3, 3, 20, 0.2F}, DType::f32, 270, 5),
                                   AttentionCase({7, 1, 64, 0.125F}, DType::bf16, 150, 9),
                                   AttentionCase({4, 2, 16, 0.25F, 3}, DType::bf16, 270, 13),
                                   AttentionCase({5, 1, 24, 0.2F, 130}, DType::f32, 390, 17)}) {
      const Matrix want = attend(options, c, {});
      for (const Run& run :
           {Run{.block_size = 8, .threads = 2, .longest_chunk = 50, .seed = 2},
            Run{.block_size = 32, .seed = 3},
            Run{.block_size = 16, .threads = 4, .longest_chunk = 1, .seed = 4},
            Run{.block_size = 32, .threads = 1, .longest_chunk = 7, .neighbour = true, .seed = 5},
            Run{.block_size = 8, .threads = 2, .longest_chunk = 1, .neighbour = true, .seed = 6},
            Run{.block_size = 16, .threads = 2, .longest_chunk = 128, .neighbour = true, .seed = 7},
            Run{.block_size = 16, .longest_chunk = 90, .neighbour = true, .second = true, .seed = 9},
            Run{.block_size = 8, .longest_chunk = 4, .second = true, .leaves = true, .seed = 10},
            Run{.block_size = 32, .threads = 2, .longest_chunk = 60, .leaves = true, .seed = 11},
            Run{.block_size = 16, .threads = 4, .longest_chunk = 20, .seed = 8}}) {
        if (run.leaves && c.shape.window == 0) continue;
        INFO(options.isa << " block " << run.block_size << " threads " << run.threads << " chunk "
                         << run.longest_chunk << " neighbour " << run.neighbour << " second " << run.second
                         << " leaves " << run.leaves);
        const Matrix got = attend(options, c, run);
        for (std::int64_t r = 0; r < c.tokens; ++r) {
          const auto at = static_cast<std::size_t>(r * want.cols);
          if (!same_bits(&got.values[at], &want.values[at], want.cols)) FAIL("position " << r << " differs");
        }
      }
    }
  }
}

TEST_CASE("a row never sees a later row, not even its NaN") {
  for (const OpsOptions& options : backends()) {
    AttentionCase c({4, 2, 16, 0.25F}, DType::f32, 140, 1);
    const Matrix want = attend(options, c, {});
    const std::int64_t poisoned = 131;  // in the second split, in the middle of a tile
    for (std::int64_t i = 0; i < c.v.cols; ++i) {
      c.k.at(poisoned, i) = NAN;
      c.v.at(poisoned, i) = NAN;
    }
    const Matrix got = attend(options, c, {});
    CHECK(same_bits(got.values.data(), want.values.data(), poisoned * want.cols));
    CHECK(std::isnan(got.at(poisoned, 0)));
  }
}

TEST_CASE("a row sees nothing before its window, not even its NaN") {
  for (const OpsOptions& options : backends()) {
    AttentionCase c({4, 2, 16, 0.25F, 9}, DType::f32, 200, 1);
    const Matrix want = attend(options, c, {});
    const std::int64_t poisoned = 120, free = poisoned + 9;
    for (std::int64_t i = 0; i < c.v.cols; ++i) {
      c.k.at(poisoned, i) = NAN;
      c.v.at(poisoned, i) = NAN;
    }
    for (const Run& run : {Run{}, Run{.longest_chunk = 1}}) {
      const Matrix got = attend(options, c, run);
      CHECK(std::isnan(got.at(free - 1, 0)));
      CHECK(same_bits(&got.values[static_cast<std::size_t>(free * want.cols)],
                      &want.values[static_cast<std::size_t>(free * want.cols)], (200 - free) * want.cols));
    }
  }
}

TEST_CASE("instruction sets have numerics ids of their own") {
  std::vector<std::string> ids;
  for (const OpsOptions& options : backends()) {
    ids.push_back(require_ops(options)->numerics_id());
    CHECK(require_ops(options, 4)->numerics_id() == ids.back());
  }
  std::sort(ids.begin(), ids.end());
  CHECK(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
}

}  // namespace baton::test
