/* Visibility: vertex normals, z-buffer, depth maps and hair strands. The same arithmetic as raster_numpy.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Area-weighted vertex normals, divided by max(length, 1e-8). */
void vertex_normals(const float *v, int nv, const int *f, int nf, float *n) {
  memset(n, 0, sizeof(float) * 3 * nv);
  for (int t = 0; t < nf; t++) {
    const float *a = v + 3 * f[3 * t], *b = v + 3 * f[3 * t + 1], *c = v + 3 * f[3 * t + 2];
    float e0 = b[0] - a[0], e1 = b[1] - a[1], e2 = b[2] - a[2];
    float g0 = c[0] - a[0], g1 = c[1] - a[1], g2 = c[2] - a[2];
    float x = e1 * g2 - e2 * g1, y = e2 * g0 - e0 * g2, z = e0 * g1 - e1 * g0;
    for (int k = 0; k < 3; k++) {
      float *o = n + 3 * f[3 * t + k];
      o[0] += x, o[1] += y, o[2] += z;
    }
  }
  for (int i = 0; i < nv; i++) {
    float *o = n + 3 * i, l = sqrtf(o[0] * o[0] + o[1] * o[1] + o[2] * o[2]);
    l = 1.f / (l > 1e-8f ? l : 1e-8f);
    o[0] *= l, o[1] *= l, o[2] *= l;
  }
}

/* v: x, y in samples, z growing away from the viewer. ids: face or -1; bary: first two weights; depth: z or 1e30. */
void zbuffer(const float *v, const int *f, int nf, int size, int *ids, float *bary, float *depth) {
  for (int i = 0; i < size * size; i++) depth[i] = 1e30f, ids[i] = -1;
  for (int t = 0; t < nf; t++) {
    const float *a = v + 3 * f[3 * t], *b = v + 3 * f[3 * t + 1], *c = v + 3 * f[3 * t + 2];
    float x0f = fminf(a[0], fminf(b[0], c[0])), x1f = fmaxf(a[0], fmaxf(b[0], c[0]));
    float y0f = fminf(a[1], fminf(b[1], c[1])), y1f = fmaxf(a[1], fmaxf(b[1], c[1]));
    if (!(x1f > 0 && y1f > 0 && x0f < size && y0f < size)) continue;
    float den = (b[1] - c[1]) * (a[0] - c[0]) + (c[0] - b[0]) * (a[1] - c[1]);
    if (fabsf(den) < 1e-9f) continue;
    int x0 = (int)ceilf(x0f - 0.5f), x1 = (int)floorf(x1f - 0.5f), y0 = (int)ceilf(y0f - 0.5f), y1 = (int)floorf(y1f - 0.5f);
    x0 = x0 < 0 ? 0 : x0, y0 = y0 < 0 ? 0 : y0, x1 = x1 >= size ? size - 1 : x1, y1 = y1 >= size ? size - 1 : y1;
    float inv = 1.f / den;
    float a0 = (b[1] - c[1]) * inv, b0 = (c[0] - b[0]) * inv, a1 = (c[1] - a[1]) * inv, b1 = (a[0] - c[0]) * inv;
    for (int y = y0; y <= y1; y++)
      for (int x = x0; x <= x1; x++) {
        float px = x + 0.5f - c[0], py = y + 0.5f - c[1];
        float w0 = a0 * px + b0 * py, w1 = a1 * px + b1 * py, w2 = 1.f - w0 - w1;
        if (w0 < 0 || w1 < 0 || w2 < 0) continue;
        float z = w0 * a[2] + w1 * b[2] + w2 * c[2];
        int i = y * size + x;
        if (z < depth[i]) depth[i] = z, ids[i] = t, bary[2 * i] = w0, bary[2 * i + 1] = w1;
      }
  }
}

static inline void blend(int x, int y, int size, float a, float z, const float *rgb, const float *depth, float *colour,
                         float *cover) {
  if (x < 0 || y < 0 || x >= size || y >= size || a <= 0) return;
  int j = y * size + x;
  if (z >= depth[j]) return;
  for (int k = 0; k < 3; k++) colour[3 * j + k] += a * (rgb[k] - colour[3 * j + k]);
  cover[j] += a * (1 - cover[j]);
}

#define BUCKETS 4096
/* Draw n strands of `points` points over the mesh, segments from far to near (in BUCKETS steps of depth, equal ones in
   their order). Each segment is a line one sample wide, shared between two samples across its main direction.
   screen (n * points, 3), rgb (n * points, 3), alpha (n * points); depth is only read; colour (size^2, 3) and cover
   (size^2) are changed. */
void strands(const float *screen, const float *rgb, const float *alpha, int n, int points, int size, float bias,
             float low, float high, const float *depth, float *colour, float *cover) {
  int total = n * (points - 1), *order = malloc(sizeof(int) * (total + 1)), *bucket = malloc(sizeof(int) * (total + 1));
  int *start = calloc(BUCKETS + 1, sizeof(int));
  float scale = BUCKETS / (high - low + 1e-6f);
  for (int s = 0, i = 0; s < n; s++)
    for (int k = 0; k + 1 < points; k++, i++) {
      const float *a = screen + 3 * (s * points + k);
      int b = (int)((high - .5f * (a[2] + a[5])) * scale);
      bucket[i] = b < 0 ? 0 : (b >= BUCKETS ? BUCKETS - 1 : b);
      start[bucket[i] + 1]++;
    }
  for (int b = 0; b < BUCKETS; b++) start[b + 1] += start[b];
  for (int i = 0; i < total; i++) order[start[bucket[i]]++] = i;
  for (int o = 0; o < total; o++) {
    int i = order[o], p = i / (points - 1) * points + i % (points - 1);
    const float *a = screen + 3 * p, *b = a + 3, *ca = rgb + 3 * p, *cb = ca + 3;
    float dx = b[0] - a[0], dy = b[1] - a[1], reach = fmaxf(fabsf(dx), fabsf(dy));
    if (reach > size || !(reach >= 0)) continue;
    int steps = (int)ceilf(reach), steep = fabsf(dy) > fabsf(dx);
    if (steps < 1) steps = 1;
    float share = reach < 1 ? (reach < .25f ? .25f : reach) : 1.f;
    for (int q = 0; q < steps; q++) {
      float t = (q + .5f) / steps, x = a[0] + t * dx - .5f, y = a[1] + t * dy - .5f;
      float z = a[2] + t * (b[2] - a[2]) - bias, op = (alpha[p] + t * (alpha[p + 1] - alpha[p])) * share, c[3];
      for (int k = 0; k < 3; k++) c[k] = ca[k] + t * (cb[k] - ca[k]);
      if (steep) {
        int x0 = (int)floorf(x), y0 = (int)floorf(y + .5f);
        float f = x - x0;
        blend(x0, y0, size, op * (1 - f), z, c, depth, colour, cover);
        blend(x0 + 1, y0, size, op * f, z, c, depth, colour, cover);
      } else {
        int x0 = (int)floorf(x + .5f), y0 = (int)floorf(y);
        float f = y - y0;
        blend(x0, y0, size, op * (1 - f), z, c, depth, colour, cover);
        blend(x0, y0 + 1, size, op * f, z, c, depth, colour, cover);
      }
    }
  }
  free(order), free(bucket), free(start);
}
