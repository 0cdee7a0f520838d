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

/* A number in 0..1 from three integers; the same in numpy with uint32 arithmetic. */
static inline float hash01(unsigned a, unsigned b, unsigned c) {
  unsigned h = a * 0x9E3779B1u ^ b * 0x85EBCA77u ^ c * 0xC2B2AE3Du;
  h ^= h >> 15, h *= 0x2C1B3C6Du, h ^= h >> 12, h *= 0x297A2D39u, h ^= h >> 15;
  return (h >> 8) * (1.f / 16777216.f);
}

/* Strands of `points` points each, one sample wide, drawn where nearer than depth - bias. Opacity by random decisions
   per sample, so no sorting is needed. screen (n * points, 3), alpha (n * points), depth in and out; owner (size^2):
   8-bit fixed-point position: owner = point * 256 + fraction, or -1. */
void strands(const float *screen, const float *alpha, int n, int points, int size, float bias, unsigned seed,
             float *depth, long long *owner) {
  for (int s = 0; s < n; s++)
    for (int k = 0; k + 1 < points; k++) {
      long long p = (long long)s * points + k;
      const float *a = screen + 3 * p, *b = a + 3;
      float dx = b[0] - a[0], dy = b[1] - a[1], reach = fmaxf(fabsf(dx), fabsf(dy));
      int steps = (int)ceilf(reach);
      if (steps < 1) steps = 1;
      if (steps > 4 * size) continue;
      for (int i = 0; i < steps; i++) {
        float t = (i + 0.5f) / steps;
        int x = (int)floorf(a[0] + t * dx), y = (int)floorf(a[1] + t * dy);
        if (x < 0 || y < 0 || x >= size || y >= size) continue;
        float z = a[2] + t * (b[2] - a[2]) - bias;
        int j = y * size + x;
        if (z >= depth[j]) continue;
        float opacity = alpha[p] + t * (alpha[p + 1] - alpha[p]);
        if (opacity < 0.999f && hash01(x + seed, y, s) > opacity) continue;
        depth[j] = z, owner[j] = p * 256 + (int)(t * 255.f);
      }
    }
}
