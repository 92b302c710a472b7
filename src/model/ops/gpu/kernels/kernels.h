// The kernels of accelerators: one text for three compilers. cuda.cu, metal.h and host.h say what the words in capitals
// mean to CUDA, to Metal, and to a C++ compiler that runs the kernels thread by thread, for tests.
//
//   KERNEL(name, ...)  a kernel; `at` is the thread's number in a grid of one dimension
//   ROWS(name, ...)    the same, run in warps of 32 lanes that exchange numbers: `at / 32` is the warp, `at % 32` the lane
//   DATA(type, x, i)   argument i, an array; VALUE(type, x, i)  argument i, a number
//   GLOBAL             the memory that arrays are in; INSIDE  a function of the device
//   LANES_SUM(x), LANES_MAX(x), LANES_MIN(x)  of the 32 lanes of a warp, known to each of them afterwards
//   EXP(x), RSQRT(x)   in f32; INFINITE, NOT_A_NUMBER; BITS(x)  of an f32
//   bf16, f16          the two formats of 16 bits; uint4  16 bytes
//
// Sums are f32. Arrays are contiguous; letters are those of src/lib.rs.

// ---- ChaCha8, word for word that of rng.rs --------------------------------------------------------------------------

INSIDE u32 rotated(u32 x, u32 by) { return (x << by) | (x >> (32 - by)); }

#define QUARTER(a, b, c, d)               \
    a += b, d = rotated(d ^ a, 16);       \
    c += d, b = rotated(b ^ c, 12);       \
    a += b, d = rotated(d ^ a, 8);        \
    c += d, b = rotated(b ^ c, 7);

// Which of the 16 words of block `number` of a stream have 24 bits that reach the threshold: a bit a word.
INSIDE u32 kept(GLOBAL const u32 *key, u64 number, u32 stream_low, u32 stream_high, u32 threshold) {
    const u32 start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0], key[1], key[2], key[3],
                           key[4], key[5], key[6], key[7], u32(number), u32(number >> 32), stream_low, stream_high};
    u32 x[16];
    for (int i = 0; i < 16; i++) x[i] = start[i];
    for (int i = 0; i < 4; i++) {
        QUARTER(x[0], x[4], x[8], x[12])
        QUARTER(x[1], x[5], x[9], x[13])
        QUARTER(x[2], x[6], x[10], x[14])
        QUARTER(x[3], x[7], x[11], x[15])
        QUARTER(x[0], x[5], x[10], x[15])
        QUARTER(x[1], x[6], x[11], x[12])
        QUARTER(x[2], x[7], x[8], x[13])
        QUARTER(x[3], x[4], x[9], x[14])
    }
    u32 bits = 0;
    for (int i = 0; i < 16; i++) bits |= u32((x[i] + start[i]) >> 8 >= threshold) << i;
    return bits;
}

// ---- dropout ------------------------------------------------------------------------------------------------------

// The same of 16 neighbouring words, wherever they begin.
INSIDE u32 kept_from(GLOBAL const u32 *key, u64 word, u32 low, u32 high, u32 threshold) {
    const u32 skipped = u32(word % 16);
    const u32 bits = kept(key, word / 16, low, high, threshold) >> skipped;
    if (skipped == 0) return bits;
    return bits | kept(key, word / 16 + 1, low, high, threshold) << (16 - skipped);
}

// Rows [n, width]; a thread has 16 neighbouring elements. `row_of[i]` is the batch row of row i, whose key is there, 8
// words; `column_of[i]` its column behind the first real token, all bits set for padding, which is dropped. What is kept
// is multiplied with `scale`, the rest with zero.
#define DROPOUT(name, S, T, RESULT)                                                                                   \
    KERNEL(name, DATA(const S, x, 0), DATA(T, y, 1), DATA(const u32, keys, 2), DATA(const u32, row_of, 3),            \
           DATA(const u32, column_of, 4), VALUE(u32, low, 5), VALUE(u32, high, 6), VALUE(u32, n, 7),                  \
           VALUE(u32, width, 8), VALUE(u32, threshold, 9), VALUE(float, scale, 10)) {                                 \
        const u32 groups = (width + 15) / 16, i = at / groups, first = at % groups * 16;                              \
        if (i >= n) return;                                                                                           \
        const u32 column = column_of[i], last = min(first + 16, width);                                               \
        const u64 word = u64(column) * width + first;                                                                 \
        const bool padding = column == 0xffffffffu;                                                                   \
        u32 bits = padding ? 0 : kept_from(keys + row_of[i] * 8, word, low, high, threshold);                         \
        for (u32 j = first; j < last; j++, bits >>= 1) {                                                              \
            const u64 k = u64(i) * width + j;                                                                         \
            const float dropped = float(x[k]) * (bits & 1 ? scale : 0.0f);                                            \
            y[k] = RESULT;                                                                                            \
        }                                                                                                             \
    }
DROPOUT(dropped_f32, float, float, dropped)
DROPOUT(dropped_bf16, bf16, float, dropped)
DROPOUT(dropped_f16, f16, float, dropped)
// added to what is there
DROPOUT(add_dropped_f32, float, float, y[k] + dropped)
DROPOUT(add_dropped_bf16, float, bf16, bf16(float(y[k]) + dropped))
DROPOUT(add_dropped_f16, float, f16, f16(float(y[k]) + dropped))

// ---- sums ---------------------------------------------------------------------------------------------------------

// `y += scale * x`, two elements a thread.
#define ADD(name, S, T)                                                                                               \
    KERNEL(name, DATA(const S, x, 0), DATA(T, y, 1), VALUE(u32, n, 2), VALUE(float, scale, 3)) {                     \
        const u32 i = 2 * at;                                                                                        \
        if (i < n) y[i] = T(float(y[i]) + scale * float(x[i]));                                                       \
        if (i + 1 < n) y[i + 1] = T(float(y[i + 1]) + scale * float(x[i + 1]));                                       \
    }
ADD(add_f32_f32, float, float)
ADD(add_f32_bf16, float, bf16)
ADD(add_f32_f16, float, f16)
ADD(add_bf16_bf16, bf16, bf16)
ADD(add_f16_f16, f16, f16)

// A row [width] added to every one of rows [n, width], `total` elements.
#define ADD_BIAS(name, T)                                                                                             \
    KERNEL(name, DATA(T, y, 0), DATA(const T, b, 1), VALUE(u32, total, 2), VALUE(u32, width, 3)) {                   \
        if (at < total) y[at] = T(float(y[at]) + float(b[at % width]));                                               \
    }
ADD_BIAS(add_bias_f32, float)
ADD_BIAS(add_bias_bf16, bf16)
ADD_BIAS(add_bias_f16, f16)

// ---- RMSNorm, gradient: dx = r (w dy - x r^2 mean(w dy x)), r = 1 / sqrt(mean(x^2) + eps); a warp a row [d] ---------

#define RMS_NORM_BACKWARD(name, T)                                                                                    \
    ROWS(name, DATA(const T, x, 0), DATA(const T, w, 1), DATA(const T, dy, 2), DATA(T, dx, 3), VALUE(u32, n, 4),     \
         VALUE(u32, d, 5), VALUE(float, eps, 6)) {                                                                   \
        const u32 row = at / 32, lane = at % 32;                                                                     \
        if (row >= n) return;                                                                                         \
        const u64 first = u64(row) * d;                                                                           \
        float squares = 0.0f, along = 0.0f;                                                                           \
        for (u32 j = lane; j < d; j += 32) {                                                                         \
            const float v = float(x[first + j]);                                                                      \
            squares += v * v;                                                                                         \
            along += v * float(w[j]) * float(dy[first + j]);                                                          \
        }                                                                                                             \
        const float r = RSQRT(LANES_SUM(squares) / float(d) + eps);                                                   \
        const float mean = LANES_SUM(along) * r * r / float(d);                                                       \
        for (u32 j = lane; j < d; j += 32)                                                                           \
            dx[first + j] = T(r * (float(w[j]) * float(dy[first + j]) - float(x[first + j]) * mean));                 \
    }
RMS_NORM_BACKWARD(rms_norm_backward_f32, float)
RMS_NORM_BACKWARD(rms_norm_backward_bf16, bf16)
RMS_NORM_BACKWARD(rms_norm_backward_f16, f16)

// ---- rotary embedding of the first E' of E numbers of [B, W, heads, E] in place; tables f32 [positions, E'/2]; positions
//      count behind the padding of a half of a row, or of the whole of it

#define ROTATE(name, T)                                                                                               \
    KERNEL(name, DATA(T, x, 0), DATA(const float, cosines, 1), DATA(const float, sines, 2), DATA(const u32, pad, 3), \
           VALUE(u32, total, 4), VALUE(u32, w, 5), VALUE(u32, heads, 6), VALUE(u32, half_width, 7),               \
           VALUE(u32, start, 8), VALUE(u32, half_row, 9), VALUE(u32, width, 10), VALUE(float, sign, 11)) {         \
        if (at >= total) return; /* B W heads E'/2 */                                                                  \
        const u32 e = at % half_width, head = at / half_width, row = head / heads;                                   \
        const u32 column = (row % w + start) % half_row, before = pad[row / w];                                      \
        const u32 p = (column > before ? column - before : 0) * half_width + e;                                      \
        const u64 low = u64(head) * width + e, high = low + half_width;                                            \
        const float a = float(x[low]), b = float(x[high]), c = cosines[p], s = sines[p] * sign;                       \
        x[low] = T(a * c - b * s);                                                                                    \
        x[high] = T(b * c + a * s);                                                                                   \
    }
ROTATE(rotate_f32, float)
ROTATE(rotate_bf16, bf16)
ROTATE(rotate_f16, f16)

// ---- [B, X, Y, E] -> [B, Y, X, E], in units of which E holds `e` ----------------------------------------------------

#define SWAP(name, T)                                                                                                 \
    KERNEL(name, DATA(const T, in, 0), DATA(T, out, 1), VALUE(u32, total, 2), VALUE(u32, xs, 3), VALUE(u32, ys, 4),\
           VALUE(u32, e, 5)) {                                                                                       \
        if (at >= total) return;                                                                                      \
        const u32 unit = at % e, row = at / e, y = row % ys, x = row / ys % xs, b = row / ys / xs;                   \
        out[((u64(b) * ys + y) * xs + x) * e + unit] = in[at];                                                      \
    }
SWAP(swap_16, uint4)
SWAP(swap_2, u16)

// ---- softmax(scale * scores) of rows [t], the first pad[b] keys left out; a warp a row --------------------------------

#define SOFTMAX(name, S, T)                                                                                           \
    ROWS(name, DATA(const S, scores, 0), DATA(T, probs, 1), DATA(const u32, pad, 2), VALUE(u32, rows, 3),           \
         VALUE(u32, rows_of_batch, 4), VALUE(u32, t, 5), VALUE(float, scale, 6)) {                                  \
        const u32 row = at / 32, lane = at % 32;                                                                     \
        if (row >= rows) return;                                                                                      \
        GLOBAL const S *s = scores + u64(row) * t;                                                                  \
        GLOBAL T *p = probs + u64(row) * t;                                                                         \
        const u32 first = pad[row / rows_of_batch];                                                                  \
        float top = -INFINITE;                                                                                        \
        for (u32 j = first + lane; j < t; j += 32) top = max(top, float(s[j]) * scale);                              \
        top = LANES_MAX(top);                                                                                         \
        float total = 0.0f;                                                                                           \
        for (u32 j = first + lane; j < t; j += 32) total += EXP(float(s[j]) * scale - top);                          \
        const float inverse = 1.0f / LANES_SUM(total);                                                                \
        for (u32 j = lane; j < t; j += 32)                                                                           \
            p[j] = T(j < first ? 0.0f : EXP(float(s[j]) * scale - top) * inverse);                                    \
    }
// The same, query `row % w` seeing the keys of two ranges, `ends[B, w, 4]`.
#define SOFTMAX_SEEN(name, S, T)                                                                                      \
    ROWS(name, DATA(const S, scores, 0), DATA(T, probs, 1), DATA(const u32, ends, 2), VALUE(u32, rows, 3),          \
         VALUE(u32, rows_of_batch, 4), VALUE(u32, w, 5), VALUE(u32, t, 6), VALUE(float, scale, 7)) {                \
        const u32 row = at / 32, lane = at % 32;                                                                     \
        if (row >= rows) return;                                                                                      \
        GLOBAL const S *s = scores + u64(row) * t;                                                                  \
        GLOBAL T *p = probs + u64(row) * t;                                                                         \
        GLOBAL const u32 *of = ends + (u64(row / rows_of_batch) * w + row % w) * 4;                                 \
        float top = -INFINITE, total = 0.0f;                                                                          \
        for (u32 j = of[0] + lane; j < of[1]; j += 32) top = max(top, float(s[j]) * scale);                          \
        for (u32 j = of[2] + lane; j < of[3]; j += 32) top = max(top, float(s[j]) * scale);                          \
        top = LANES_MAX(top);                                                                                         \
        for (u32 j = of[0] + lane; j < of[1]; j += 32) total += EXP(float(s[j]) * scale - top);                      \
        for (u32 j = of[2] + lane; j < of[3]; j += 32) total += EXP(float(s[j]) * scale - top);                      \
        const float inverse = 1.0f / LANES_SUM(total);                                                                \
        for (u32 j = lane; j < t; j += 32) {                                                                         \
            const bool seen = (j >= of[0] && j < of[1]) || (j >= of[2] && j < of[3]);                                 \
            p[j] = T(seen ? EXP(float(s[j]) * scale - top) * inverse : 0.0f);                                         \
        }                                                                                                             \
    }
SOFTMAX_SEEN(softmax_seen_f32_f32, float, float)
SOFTMAX_SEEN(softmax_seen_f32_bf16, float, bf16)
SOFTMAX_SEEN(softmax_seen_f32_f16, float, f16)
SOFTMAX_SEEN(softmax_seen_bf16_bf16, bf16, bf16)
SOFTMAX_SEEN(softmax_seen_f16_f16, f16, f16)

SOFTMAX(softmax_f32_f32, float, float)
SOFTMAX(softmax_f32_bf16, float, bf16)
SOFTMAX(softmax_f32_f16, float, f16)
SOFTMAX(softmax_bf16_bf16, bf16, bf16)
SOFTMAX(softmax_f16_f16, f16, f16)

// Its gradient: `d_scores = scale * p (dp - sum p dp)`; a warp a row.
#define SOFTMAX_BACKWARD(name, S, T)                                                                                  \
    ROWS(name, DATA(const T, probs, 0), DATA(const S, d_probs, 1), DATA(T, d_scores, 2), VALUE(u32, rows, 3),        \
         VALUE(u32, t, 4), VALUE(float, scale, 5)) {                                                                 \
        const u32 row = at / 32, lane = at % 32;                                                                     \
        if (row >= rows) return;                                                                                      \
        const u64 first = u64(row) * t;                                                                           \
        float along = 0.0f;                                                                                           \
        for (u32 j = lane; j < t; j += 32) along += float(probs[first + j]) * float(d_probs[first + j]);             \
        along = LANES_SUM(along);                                                                                     \
        for (u32 j = lane; j < t; j += 32)                                                                           \
            d_scores[first + j] = T(scale * float(probs[first + j]) * (float(d_probs[first + j]) - along));           \
    }
SOFTMAX_BACKWARD(softmax_backward_f32_f32, float, float)
SOFTMAX_BACKWARD(softmax_backward_f32_bf16, float, bf16)
SOFTMAX_BACKWARD(softmax_backward_f32_f16, float, f16)
SOFTMAX_BACKWARD(softmax_backward_bf16_bf16, bf16, bf16)
SOFTMAX_BACKWARD(softmax_backward_f16_f16, f16, f16)

// ---- SwiGLU: y = silu(gate) up ---------------------------------------------------------------------------------------

#define SWIGLU(name, T)                                                                                               \
    KERNEL(name, DATA(const T, gate, 0), DATA(const T, up, 1), DATA(T, y, 2), VALUE(u32, n, 3)) {                    \
        for (u32 i = 2 * at; i < 2 * at + 2 && i < n; i++) {                                                         \
            const float g = float(gate[i]);                                                                           \
            y[i] = T(g * float(up[i]) / (1.0f + EXP(-g)));                                                            \
        }                                                                                                             \
    }
SWIGLU(swiglu_f32, float)
SWIGLU(swiglu_bf16, bf16)
SWIGLU(swiglu_f16, f16)

// `up` becomes the gradient of the gate, `dy` that of `up`.
#define SWIGLU_BACKWARD(name, T)                                                                                      \
    KERNEL(name, DATA(const T, gate, 0), DATA(T, up, 1), DATA(T, dy, 2), VALUE(u32, n, 3)) {                         \
        for (u32 i = 2 * at; i < 2 * at + 2 && i < n; i++) {                                                         \
            const float g = float(gate[i]), u = float(up[i]), d = float(dy[i]), s = 1.0f / (1.0f + EXP(-g));          \
            up[i] = T(d * u * s * (1.0f + g * (1.0f - s)));                                                           \
            dy[i] = T(d * g * s);                                                                                     \
        }                                                                                                             \
    }
SWIGLU_BACKWARD(swiglu_backward_f32, float)
SWIGLU_BACKWARD(swiglu_backward_bf16, bf16)
SWIGLU_BACKWARD(swiglu_backward_f16, f16)

// ---- what the sampler asks of rows of logits [n, v]: a warp a part of 1024 words ----------------------------------------
//
// Of every part seven numbers, `sums[7][n][parts]`: the largest logit `top`; `sum exp(l - top)`; `sum (l - top) exp(l - top)`;
// the largest but the excluded one, `best`; its word, as a number; the largest but for these two; and
// `sum exp((l - best) / temperature)` without the excluded one, whose addends are summed in grains of 128 words too:
// `grains[n][8 parts]`.
ROWS(tally, DATA(const float, logits, 0), DATA(float, sums, 1), DATA(float, grains, 2), VALUE(u32, n, 3),
     VALUE(u32, v, 4), VALUE(u32, excluded, 5), VALUE(float, inverse_temperature, 6)) {
    const u32 parts = (v + 1023) / 1024, warp = at / 32, lane = at % 32;
    if (warp >= n * parts) return;
    const u32 row = warp / parts, part = warp % parts, first = part * 1024;
    GLOBAL const float *x = logits + u64(row) * v;
    float l[32], top = -INFINITE, best = -INFINITE, broken = 0.0f;
    for (u32 k = 0; k < 32; k++) {
        const u32 j = first + k * 32 + lane;
        l[k] = j < v ? x[j] : -INFINITE;
        if ((BITS(l[k]) & 0x7fffffffu) > 0x7f800000u) broken = 1.0f; // fast maths knows no NaN
        top = max(top, l[k]);
        if (j != excluded) best = max(best, l[k]);
    }
    top = LANES_MAX(top), best = LANES_MAX(best), broken = LANES_MAX(broken);
    float total = 0.0f, weighted = 0.0f, second = -INFINITE;
    float word = float(v); // of the first that has the largest logit: words below 2^24 are exact
    for (u32 k = 0; k < 32; k++) {
        const u32 j = first + k * 32 + lane;
        const float e = top == -INFINITE ? 0.0f : EXP(l[k] - top);
        total += e;
        weighted += e == 0.0f ? 0.0f : (l[k] - top) * e;
        if (j < v && j != excluded && l[k] == best) word = min(word, float(j));
    }
    word = LANES_MIN(word);
    total = LANES_SUM(total), weighted = LANES_SUM(weighted);
    for (u32 k = 0; k < 32; k++) {
        const u32 j = first + k * 32 + lane;
        if (j != excluded && float(j) != word) second = max(second, l[k]);
    }
    second = LANES_MAX(second);
    float tempered = 0.0f;
    for (u32 g = 0; g < 8; g++) {
        float sum = 0.0f;
        for (u32 k = 4 * g; k < 4 * g + 4; k++) {
            const u32 j = first + k * 32 + lane;
            if (j < v && j != excluded && best > -INFINITE) sum += EXP((l[k] - best) * inverse_temperature);
        }
        sum = LANES_SUM(sum);
        tempered += sum;
        if (lane == 0) grains[(u64(row) * parts + part) * 8 + g] = sum;
    }
    if (lane == 0) {
        const u64 here = u64(row) * parts + part, all = u64(n) * parts;
        sums[here] = top;
        sums[all + here] = broken > 0.0f ? NOT_A_NUMBER : total;
        sums[2 * all + here] = weighted;
        sums[3 * all + here] = best;
        sums[4 * all + here] = word;
        sums[5 * all + here] = second;
        sums[6 * all + here] = tempered;
    }
}
