/* Resize and painting on the GPU, bit for bit as the host does them with OpenCV.
 *
 * Plain CUDA C without a header, so that nvcc and NVRTC compile it alike. What needs floating point
 * and depends on the sizes alone (which pixels, which weights) comes in tables that the host makes:
 * see kernels.py.
 */

/* Bilinear resize of a picture of 3 x uint8, as cv2.resize does it: in fixed point, the weights with
 * 11 bits, with two truncations on the way. A thread makes a pixel.
 *
 * columns: a result's column each: byte offsets of its two pixels in a line, and their weights.
 * rows:    a result's row each: the two lines, and their weights.
 * stride:  bytes of a line of the picture.
 */
extern "C" __global__ void shrink(
    const unsigned char* __restrict__ picture, unsigned char* __restrict__ small,
    const int4* __restrict__ columns, const int4* __restrict__ rows,
    int stride, int width, int height)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height)
        return;
    const int4 column = columns[x];
    const int4 row = rows[y];
    const unsigned char* upper = picture + (long long)row.x * stride;
    const unsigned char* lower = picture + (long long)row.y * stride;
    unsigned char* to = small + 3 * (y * width + x);
#pragma unroll
    for (int c = 0; c < 3; ++c) {
        const int left = column.x + c, right = column.y + c;
        const int above = upper[left] * column.z + upper[right] * column.w;
        const int below = lower[left] * column.z + lower[right] * column.w;
        const int sum = ((row.z * (above >> 4)) >> 16) + ((row.w * (below >> 4)) >> 16);
        to[c] = (unsigned char)((sum + 2) >> 2);
    }
}

/* Painting in place: each pixel of the picture with the colour of its class, where that is painted.
 *
 * A thread takes 4 pixels, which are 12 bytes and 3 words, wherever the lines end: `picture` is
 * aligned to words, and its memory reaches to a multiple of 4 pixels.
 *
 * columns, rows: where in the mask a column and a row of the picture lie.
 * paints: a class each: its colour (BGR) times the opacity, and the share of the picture, which is 1
 *         where the class is not painted. One fused multiply-add, rounded to the nearest, to even in
 *         the middle, is what cv2.addWeighted does.
 */
extern "C" __global__ void paint(
    unsigned int* __restrict__ picture, const unsigned char* __restrict__ mask,
    const int* __restrict__ columns, const int* __restrict__ rows,
    const float4* __restrict__ paints, int width, int pixels, int mask_width)
{
    const int first = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (first >= pixels)
        return;
    int y = first / width;
    int x = first - y * width;
    float colours[12], shares[4];
    bool touched = false;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        float4 chosen = {0.0f, 0.0f, 0.0f, 1.0f};
        if (first + i < pixels)
            chosen = paints[mask[rows[y] * mask_width + columns[x]]];
        colours[3 * i] = chosen.x;
        colours[3 * i + 1] = chosen.y;
        colours[3 * i + 2] = chosen.z;
        shares[i] = chosen.w;
        touched |= chosen.w != 1.0f;
        if (++x == width) {
            x = 0;
            ++y;
        }
    }
    if (!touched) /* most of a road picture: neither read nor written */
        return;
    unsigned int* words = picture + 3 * (first / 4);
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        const unsigned int before = words[i];
        unsigned int after = 0;
#pragma unroll
        for (int b = 0; b < 4; ++b) {
            const int k = 4 * i + b;
            const float value = (float)((before >> (8 * b)) & 255u);
            const int mixed = __float2int_rn(__fmaf_rn(value, shares[k / 3], colours[k]));
            after |= (unsigned int)mixed << (8 * b);
        }
        words[i] = after;
    }
}
