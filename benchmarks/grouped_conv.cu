// Convolutions of a few channels in very many groups, for images in float32 and NCHW; stride 1, odd size, zero padding.
#include <c10/cuda/CUDAStream.h>
#include <torch/extension.h>

// Output [B, G * K, H, W] of x [B, G * C, H, W]. With `transposed`, x is the gradient of the output of a convolution
// from K to C channels with these weights, and the result is the gradient of its input.
template <int C, int K, int SIZE>
__global__ void convolve(const float* __restrict__ x, const float* __restrict__ weight, float* __restrict__ y, int B,
                         int H, int W, bool transposed) {
  constexpr int TAPS = SIZE * SIZE, REACH = SIZE / 2;
  __shared__ __align__(16) float kernel[C * TAPS * K];
  const int G = gridDim.x, g = blockIdx.x, pixels = H * W;
  for (int i = threadIdx.x; i < C * TAPS * K; i += blockDim.x) {
    const int k = i % K, t = i / K % TAPS, c = i / K / TAPS;
    kernel[i] = transposed ? weight[((g * C + c) * K + k) * TAPS + TAPS - 1 - t] : weight[((g * K + k) * C + c) * TAPS + t];
  }
  __syncthreads();
  const int at = blockIdx.y * blockDim.x + threadIdx.x;
  if (at >= B * pixels) return;
  const int b = at / pixels, p = at % pixels, row = p / W, column = p % W;
  const float* image = x + (size_t)(b * G + g) * C * pixels;
  float sum[K];
#pragma unroll
  for (int k = 0; k < K; ++k) sum[k] = 0.f;
#pragma unroll 4
  for (int c = 0; c < C; ++c)
#pragma unroll
    for (int t = 0; t < TAPS; ++t) {
      const int i = row + t / SIZE - REACH, j = column + t % SIZE - REACH;
      const float value = (i >= 0 && i < H && j >= 0 && j < W) ? __ldg(image + c * pixels + i * W + j) : 0.f;
#pragma unroll
      for (int k = 0; k < K; ++k) sum[k] += value * kernel[(c * TAPS + t) * K + k];
    }
  float* out = y + (size_t)(b * G + g) * K * pixels + p;
#pragma unroll
  for (int k = 0; k < K; ++k) out[k * pixels] = sum[k];
}

// Gradient of the weights [G * K, C, SIZE, SIZE]; a block of 256 threads sums one input channel of one group.
template <int C, int K, int SIZE>
__global__ void differentiate(const float* __restrict__ x, const float* __restrict__ grad, float* __restrict__ out,
                              int B, int H, int W) {
  constexpr int TAPS = SIZE * SIZE, REACH = SIZE / 2;
  __shared__ float part[8][K * TAPS];
  const int G = gridDim.x, g = blockIdx.x, c = blockIdx.y, pixels = H * W;
  float sum[TAPS * K];
#pragma unroll
  for (int i = 0; i < TAPS * K; ++i) sum[i] = 0.f;
  for (int at = threadIdx.x; at < B * pixels; at += blockDim.x) {
    const int b = at / pixels, p = at % pixels, row = p / W, column = p % W;
    const float* image = x + ((size_t)(b * G + g) * C + c) * pixels;
    const float* from = grad + (size_t)(b * G + g) * K * pixels + p;
    float arriving[K];
#pragma unroll
    for (int k = 0; k < K; ++k) arriving[k] = __ldg(from + k * pixels);
#pragma unroll
    for (int t = 0; t < TAPS; ++t) {
      const int i = row + t / SIZE - REACH, j = column + t % SIZE - REACH;
      const float value = (i >= 0 && i < H && j >= 0 && j < W) ? __ldg(image + i * W + j) : 0.f;
#pragma unroll
      for (int k = 0; k < K; ++k) sum[t * K + k] += value * arriving[k];
    }
  }
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int i = 0; i < TAPS * K; ++i) {
    float value = sum[i];
    for (int offset = 16; offset; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
    if (!lane) part[warp][i] = value;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < TAPS * K; i += blockDim.x) {
    float value = 0.f;
    for (int w = 0; w < 8; ++w) value += part[w][i];
    out[((g * K + i % K) * C + c) * TAPS + i / K] = value;
  }
}

template <int C, int SIZE>
void launch(const float* a, const float* b, float* out, int G, int B, int H, int W, int what) {
  auto stream = c10::cuda::getCurrentCUDAStream().stream();
  const dim3 blocks(G, (B * H * W + 255) / 256);
  if (what == 2)
    differentiate<C, C, SIZE><<<dim3(G, C), 256, 0, stream>>>(a, b, out, B, H, W);
  else
    convolve<C, C, SIZE><<<blocks, 256, 0, stream>>>(a, b, out, B, H, W, what == 1);
}

// what: 0 output of (x, weight), 1 gradient of x of (gradient, weight), 2 gradient of the weight of (x, gradient).
void run(torch::Tensor a, torch::Tensor b, torch::Tensor out, int64_t G, int64_t C, int64_t size, int64_t what) {
  const int B = a.size(0), H = a.size(2), W = a.size(3);
  auto from = a.data_ptr<float>(), with = b.data_ptr<float>();
  auto to = out.data_ptr<float>();
  if (C == 4 && size == 1) launch<4, 1>(from, with, to, G, B, H, W, what);
  else if (C == 4 && size == 3) launch<4, 3>(from, with, to, G, B, H, W, what);
  else if (C == 8 && size == 1) launch<8, 1>(from, with, to, G, B, H, W, what);
  else if (C == 8 && size == 3) launch<8, 3>(from, with, to, G, B, H, W, what);
  else if (C == 16 && size == 1) launch<16, 1>(from, with, to, G, B, H, W, what);
  else if (C == 16 && size == 3) launch<16, 3>(from, with, to, G, B, H, W, what);
  else TORCH_CHECK(false, "Expected 4, 8 or 16 channels and a size of 1 or 3, but got ", C, " and ", size, ".");
  TORCH_CHECK(cudaGetLastError() == cudaSuccess, "Expected the kernel to start, but it did not.");
}
