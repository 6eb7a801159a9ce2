# nvcc, the toolkit's libraries, and how the kernels are compiled.

enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
if(CCACHE_PROGRAM AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

# A list such as 80;90a;100;120. CMake 3.25 does not know the names that end in a letter: the flags are ours.
set(BATON_CUDA_ARCHITECTURES 90a CACHE STRING "Compute capabilities to build kernels for")
set(CMAKE_CUDA_ARCHITECTURES OFF)
list(TRANSFORM BATON_CUDA_ARCHITECTURES REPLACE "^90$" "90a")  # the wgmma kernels exist for 90a alone
# CMake 3.25 does not know how nvcc is asked for C++20 either.
foreach(kind STANDARD EXTENSION)
  if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
    set(CMAKE_CUDA20_${kind}_COMPILE_OPTION -std=c++20)
  endif()
endforeach()
set(CMAKE_CUDA_STANDARD 20)
set(cuda_flags -Xptxas=-v)
if(BATON_WERROR)
  list(APPEND cuda_flags -Werror=all-warnings)
endif()
# For tests the kernels' PTX goes in as well: programs with the property BATON_EMULATED_GPU link an emulated GPU in the
# place of CUDA's libraries (test/emulator), and that reads it.
if(BATON_TESTS AND "90a" IN_LIST BATON_CUDA_ARCHITECTURES)
  set(BATON_GPU_EMULATOR ON)
  list(APPEND cuda_flags --no-compress "SHELL:-gencode arch=compute_90a,code=compute_90a")
endif()
add_library(baton_cuda_libraries INTERFACE)
set(emulated "$<BOOL:$<TARGET_PROPERTY:BATON_EMULATED_GPU>>")
target_link_libraries(baton_cuda_libraries INTERFACE "$<${emulated}:baton_gpu_emulator>"
  "$<$<NOT:${emulated}>:CUDA::cudart_static>" "$<$<NOT:${emulated}>:CUDA::cublasLt>")
foreach(architecture IN LISTS BATON_CUDA_ARCHITECTURES)
  list(APPEND cuda_flags "SHELL:-gencode arch=compute_${architecture},code=sm_${architecture}")
endforeach()

add_library(baton_cuda_options INTERFACE)
target_include_directories(baton_cuda_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
foreach(flag IN LISTS cuda_flags)
  target_compile_options(baton_cuda_options INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:${flag}>")
endforeach()
