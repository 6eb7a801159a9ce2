// The CUDA backend as the rest of `tensor` sees it. A build has one of two definitions: cuda/, or
// no_cuda.cpp, where everything is `unsupported`.
#pragma once

#include <cstddef>
#include <memory>

#include "baton/base/result.hpp"
#include "baton/tensor/group.hpp"
#include "baton/tensor/ops.hpp"

namespace baton {

Result<std::unique_ptr<Ops>> make_cuda_ops(const OpsOptions& options);
// width >= 2.
Result<std::unique_ptr<OpsGroup>> make_cuda_group(const OpsOptions& options, std::int32_t width);

// Device memory, zero-filled, aligned to 256 bytes.
Result<std::byte*> allocate_on_gpu(Device device, std::size_t bytes);
Result<void> copy_on_gpu(Device device, std::byte* to, const std::byte* from,
                         std::size_t bytes);  // either way
void release_on_gpu(Device device, std::byte* data);

}  // namespace baton
