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

/* What is covered so far is not worth more strands. */
#define FULL .985f
#define BUCKETS 4096
/* Whether a point is so far behind the mesh that what hangs between two such points is not seen. */
static int hidden(const float *p, int size, float bias, const float *depth) {
  int x = (int)floorf(p[0]), y = (int)floorf(p[1]);
  x = x < 0 ? 0 : (x >= size ? size - 1 : x), y = y < 0 ? 0 : (y >= size ? size - 1 : y);
  return p[2] - bias > depth[y * size + x] + .08f;
}

/* Draw n strands of `points` points over the mesh, segments from near to far (in BUCKETS steps of depth, equal ones in
   their order). Each segment is a line one sample wide, shared between two samples across its main direction.
   screen (n * points, 3), rgb (n * points, 3), alpha (n * points); depth is only read; hair (size^2, 4): premultiplied
   light and coverage, changed. */
void strands(const float *screen, const float *rgb, const float *alpha, int n, int points, int size, float bias,
             float low, float high, const float *depth, float *hair) {
  int total = n * (points - 1), *order = malloc(sizeof(int) * (total + 1)), *bucket = malloc(sizeof(int) * (total + 1));
  int *start = calloc(BUCKETS + 1, sizeof(int));
  float scale = BUCKETS / (high - low + 1e-6f);
  for (int s = 0, i = 0; s < n; s++)
    for (int k = 0; k + 1 < points; k++, i++) {
      const float *a = screen + 3 * (s * points + k);
      int b = (int)((.5f * (a[2] + a[5]) - low) * scale);
      bucket[i] = b < 0 ? 0 : (b >= BUCKETS ? BUCKETS - 1 : b);
      start[bucket[i] + 1]++;
    }
  for (int b = 0; b < BUCKETS; b++) start[b + 1] += start[b];
  for (int i = 0; i < total; i++) order[start[bucket[i]]++] = i;
  for (int o = 0; o < total; o++) {
    int i = order[o], p = i / (points - 1) * points + i % (points - 1);
    const float *a = screen + 3 * p, *b = a + 3, *ca = rgb + 3 * p, *cb = ca + 3;
    if (alpha[p] <= 0 && alpha[p + 1] <= 0) continue;
    float dx = b[0] - a[0], dy = b[1] - a[1], reach = fmaxf(fabsf(dx), fabsf(dy));
    if (reach > size || !(reach >= 0)) continue;
    if ((a[0] < -1 && b[0] < -1) || (a[1] < -1 && b[1] < -1) || (a[0] > size && b[0] > size) || (a[1] > size && b[1] > size))
      continue;
    if (hidden(a, size, bias, depth) && hidden(b, size, bias, depth)) continue;
    int steps = (int)ceilf(reach), steep = fabsf(dy) > fabsf(dx);
    if (steps < 1) steps = 1;
    float inv = 1.f / steps, share = reach < 1 ? (reach < .25f ? .25f : reach) : 1.f;
    for (int q = 0; q < steps; q++) {
      float t = (q + .5f) * inv, x = a[0] + t * dx - .5f, y = a[1] + t * dy - .5f;
      float z = a[2] + t * (b[2] - a[2]) - bias, op = (alpha[p] + t * (alpha[p + 1] - alpha[p])) * share;
      int x0 = (int)floorf(steep ? x : x + .5f), y0 = (int)floorf(steep ? y + .5f : y);
      float f = steep ? x - x0 : y - y0;
      for (int side = 0; side < 2; side++) {
        int u = x0 + side * steep, v = y0 + side * !steep;
        if (u < 0 || v < 0 || u >= size || v >= size) continue;
        int j = v * size + u;
        float *h = hair + 4 * j, w = (1 - h[3]) * op * (side ? f : 1 - f);
        if (z >= depth[j] || h[3] > FULL || w <= 0) continue;
        for (int k = 0; k < 3; k++) h[k] += w * (ca[k] + t * (cb[k] - ca[k]));
        h[3] += w;
      }
    }
  }
  free(order), free(bucket), free(start);
}
