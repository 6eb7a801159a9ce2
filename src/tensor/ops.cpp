// Ops: the fused forms whose definition needs more than a line.
#include "baton/tensor/ops.hpp"

namespace baton {

Tensor Ops::rope_store(KvPlace place, const Tensor& qkv, const AttentionShape& shape, const void* prepared,
                       const HeadNorms& norms) {
  const std::int64_t q_size = std::int64_t{shape.query_heads} * shape.head_dim;
  const std::int64_t kv_size = std::int64_t{shape.kv_heads} * shape.head_dim;
  const Tensor q = qkv.columns(0, q_size);                  // [rows, query_heads * head_dim]
  const Tensor k = qkv.columns(q_size, kv_size);            // [rows, kv_heads * head_dim]
  const Tensor v = qkv.columns(q_size + kv_size, kv_size);  // [rows, kv_heads * head_dim]
  if (norms.query) head_norm(q, *norms.query, norms.epsilon);
  if (norms.key) head_norm(k, *norms.key, norms.epsilon);
  rope(q, shape.head_dim, prepared);
  rope(k, shape.head_dim, prepared);
  store_kv(place, k, v);
  return q;
}

}  // namespace baton
