/* Light on strands: Kajiya-Kay with two highlights, softened by the shape of the whole. The same arithmetic as
   hairlight.py. */
#include <math.h>

static inline float clampf(float x, float a, float b) { return x < a ? a : (x > b ? b : x); }
static inline float dot(const float *a, const float *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

/* points (n, k, 3), colour (n, 3), soft (n, 3), key and occlusion (n, k). light: key direction 3 and colour 3, rim
   direction 3 and colour 3, fill direction 3 and colour 3, cube 18, view 3, half 3, shine. out (n, k, 3). */
void shade_strands(const float *points, const float *colour, const float *soft, const float *key, const float *occlusion,
                   int n, int k, const float *light, float *out) {
  const float *K = light, *kc = light + 3, *R = light + 6, *rc = light + 9, *F = light + 12, *fc = light + 15;
  const float *cube = light + 18, *view = light + 36, *half = light + 39;
  float shine = light[42];
  for (int s = 0; s < n; s++) {
    const float *nrm = soft + 3 * s, *col = colour + 3 * s;
    float nl = dot(nrm, K), jitter = ((s * 2654435761u >> 16) & 255u) * (.2f / 255.f) - .1f, around[3], rim = clampf(.2f + dot(nrm, R), 0, 1), fill = clampf(.4f + dot(nrm, F), 0, 1), root[3];
    float wrap = clampf(.55f + .45f * nl, 0, 1) * sqrtf(clampf(.35f + nl, 0, 1)), face = clampf(.25f + nl, 0, 1);
    for (int c = 0; c < 3; c++) {
      around[c] = 0, root[c] = sqrtf(col[c]);
      for (int a = 0; a < 3; a++) around[c] += nrm[a] * nrm[a] * cube[3 * (2 * a + (nrm[a] < 0)) + c];
    }
    for (int q = 0; q < k; q++) {
      int i = s * k + q;
      const float *p = points + 3 * (q + 1 < k ? i : i - 1);
      float t[3] = {p[3] - p[0], p[4] - p[1], p[5] - p[2]}, l = 1.f / sqrtf(dot(t, t) + 1e-9f);
      t[0] *= l, t[1] *= l, t[2] *= l;
      float tl = dot(t, K), th = dot(t, half) + jitter, tv = dot(t, view);
      float diffuse = sqrtf(clampf(1 - tl * tl, 0, 1)) * wrap * key[i];
      float a = clampf(1 - (th + .10f) * (th + .10f), 0, 1), b = clampf(1 - (th - .14f) * (th - .14f), 0, 1);
      float a2 = a * a, a4 = a2 * a2, a8 = a4 * a4, b2 = b * b, b4 = b2 * b2, b8 = b4 * b4;
      float first = a8 * a8 * a8 * a8 * a8 * a4 * a, second = b8 * b2 * b;
      float facing = face * key[i] * shine, sheen = .045f * shine * sqrtf(clampf(1 - tv * tv, 0, 1)), o = occlusion[i];
      for (int c = 0; c < 3; c++) {
        float amb = around[c] * o, r = rim * rc[c] * o, f = fill * fc[c] * o;
        float x = col[c] * (1.15f * diffuse * kc[c] + amb + f + r) + .125f * first * facing * kc[c];
        out[3 * i + c] = x + .84f * second * facing * col[c] * root[c] * kc[c] + sheen * (amb + .8f * r);
      }
    }
  }
}
