/* Z-buffer rasteriser with deferred shading for the avatar world. The same arithmetic as raster_numpy.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline float clampf(float x, float a, float b) { return x < a ? a : (x > b ? b : x); }
static inline float ramp(float a, float b, float x) {
  float t = clampf((x - a) / (b - a), 0.f, 1.f);
  return t * t * (3.f - 2.f * t);
}

/* Area-weighted vertex normals, divided by max(length, 1e-6). */
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
    l = 1.f / (l > 1e-6f ? l : 1e-6f);
    o[0] *= l, o[1] *= l, o[2] *= l;
  }
}

/* v: x, y in pixels, z growing away from the viewer. ids: face or -1. bary: first two weights. */
void zbuffer(const float *v, const int *f, int nf, int size, int *ids, float *bary) {
  float *depth = malloc(sizeof(float) * size * size);
  for (int i = 0; i < size * size; i++) depth[i] = 1e30f, ids[i] = -1;
  for (int t = 0; t < nf; t++) {
    const float *a = v + 3 * f[3 * t], *b = v + 3 * f[3 * t + 1], *c = v + 3 * f[3 * t + 2];
    float den = (b[1] - c[1]) * (a[0] - c[0]) + (c[0] - b[0]) * (a[1] - c[1]);
    if (fabsf(den) < 1e-9f) continue;
    int x0 = (int)ceilf(fminf(a[0], fminf(b[0], c[0])) - 0.5f), x1 = (int)floorf(fmaxf(a[0], fmaxf(b[0], c[0])) - 0.5f);
    int y0 = (int)ceilf(fminf(a[1], fminf(b[1], c[1])) - 0.5f), y1 = (int)floorf(fmaxf(a[1], fmaxf(b[1], c[1])) - 0.5f);
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
  free(depth);
}

static void skin_colour(const float *tex, int n, float limit, float u, float v, float *col) {
  float x = clampf((u + limit) / (2 * limit) * n - .5f, 0, n - 1.001f);
  float y = clampf((v + limit) / (2 * limit) * n - .5f, 0, n - 1.001f);
  int xi = (int)x, yi = (int)y;
  float fx = x - xi, fy = y - yi;
  const float *t = tex + 3 * (yi * n + xi);
  for (int k = 0; k < 3; k++)
    col[k] = (t[k] * (1 - fx) + t[k + 3] * fx) * (1 - fy) + (t[k + 3 * n] * (1 - fx) + t[k + 3 * n + 3] * fx) * fy;
}

static void eye_colour(const float *iris, float u, float v, float *col) {
  float r = sqrtf(u * u + v * v), angle = atan2f(v, u);
  float white = .955f * (1 - .25f * ramp(.75f, 1.25f, r));
  float lit = 1.25f - .45f * ramp(.46f, .66f, r) + .25f * (1 - ramp(.33f, .57f, r)) + .06f * sinf(angle * 17);
  float edge = ramp(.63f, .69f, r), pupil = 1 - ramp(.30f, .34f, r);
  for (int k = 0; k < 3; k++) {
    float c = white * edge + clampf(iris[k] * lit, 0, 1) * (1 - edge);
    col[k] = c * (1 - pupil) + .03f * pupil;
  }
}

static const float GLOSS[7] = {.10f, 0, .16f, .20f, .10f, .03f, .35f};
static const float SHARP[7] = {18, 1, 14, 20, 18, 6, 30};

/* attr: normal 3, chart u v, occlusion. palette: 7 colours by material. light: direction, colour, ambient (9).
   curly: another strand pattern. background (size^2*3), out (size^2*3), alpha (size^2) at half of `big`. */
void shade(const int *f, const float *attr, const int *material, int big, const int *ids, const float *bary,
           const float *tex, int tex_size, float limit, const float *palette, const float *light, int curly,
           const float *background, unsigned char *out, unsigned char *alpha) {
  const float *L = light, *kc = light + 3, *amb = light + 6;
  float H[3] = {L[0], L[1], L[2] + 1.f}, G[3] = {.30f * (L[0] >= 0 ? 1 : -1), .42f, .85f};
  float hl = 1.f / sqrtf(H[0] * H[0] + H[1] * H[1] + H[2] * H[2]), gl = 1.f / sqrtf(G[0] * G[0] + G[1] * G[1] + G[2] * G[2]);
  for (int k = 0; k < 3; k++) H[k] *= hl, G[k] *= gl;
  static const float warm[3] = {.05f, -.01f, -.02f}, mouth[3] = {.22f, .05f, .06f};
  int size = big / 2;
  for (int p = 0; p < size * size; p++) {
    float sum[3] = {0, 0, 0};
    int hit = 0;
    for (int s = 0; s < 4; s++) {
      int i = (2 * (p / size) + s / 2) * big + 2 * (p % size) + s % 2, t = ids[i];
      if (t < 0) {
        for (int k = 0; k < 3; k++) sum[k] += background[3 * p + k];
        continue;
      }
      hit++;
      const float *a = attr + 6 * f[3 * t], *b = attr + 6 * f[3 * t + 1], *c = attr + 6 * f[3 * t + 2];
      float w0 = bary[2 * i], w1 = bary[2 * i + 1], w2 = 1 - w0 - w1, q[6], col[3];
      for (int k = 0; k < 6; k++) q[k] = w0 * a[k] + w1 * b[k] + w2 * c[k];
      float len = 1.f / (sqrtf(q[0] * q[0] + q[1] * q[1] + q[2] * q[2]) + 1e-9f);
      float nx = q[0] * len, ny = q[1] * len, nz = q[2] * len;
      int m = material[t], back = nz < -.02f;
      if (m == 0 && back) {
        for (int k = 0; k < 3; k++) sum[k] += mouth[k];
        continue;
      }
      if (m == 0) skin_colour(tex, tex_size, limit, q[3], q[4], col);
      else if (m == 1) eye_colour(palette + 3, q[3], q[4], col);
      else {
        float st = 1.f;
        if (m == 2)
          st = curly ? 1 + .12f * sinf(q[3] * 40) * sinf(q[4] * 45)
                     : 1 + .10f * sinf(q[3] * 55 + 2.5f * sinf(q[4] * 5 + q[3] * 3)) + .06f * sinf(q[3] * 131 + q[4] * 6);
        for (int k = 0; k < 3; k++) col[k] = clampf(palette[3 * m + k] * st + (m == 2 ? .015f : 0), 0, 1);
        if (back) nx = -nx, ny = -ny, nz = -nz;
      }
      float ndl = nx * L[0] + ny * L[1] + nz * L[2];
      float wrap = powf(clampf((ndl + .35f) / 1.35f, 0, 1), 1.25f) * .72f, sky = (.55f + .55f * (.5f + .5f * ny)) * 1.25f;
      float edge = m == 0 ? expf(-(ndl - .02f) * (ndl - .02f) / (.22f * .22f)) : 0;
      float spec = GLOSS[m] * powf(clampf(nx * H[0] + ny * H[1] + nz * H[2], 0, 1), SHARP[m]);
      float side = 1 - fabsf(nz), rim = m == 1 ? 0 : side * side * side * .10f * clampf(ny * .5f + .7f, 0, 1);
      float catch_light = m == 1 ? ramp(.968f, .980f, nx * G[0] + ny * G[1] + nz * G[2]) * .9f : 0;
      for (int k = 0; k < 3; k++) {
        float x = col[k] * (kc[k] * wrap + amb[k] * sky) * q[5] * (1 + edge * warm[k]) + (spec + rim) * kc[k];
        if (m == 1) x = (x > catch_light ? x : catch_light) * (1 - .35f * ramp(.25f, .75f, ny));
        sum[k] += clampf(x, 0, 1);
      }
    }
    for (int k = 0; k < 3; k++) out[3 * p + k] = (unsigned char)(clampf(sum[k] * .25f, 0, 1) * 255.f + .5f);
    alpha[p] = (unsigned char)(hit * 255 / 4);
  }
}
