/* Deferred shading of skin, eyes, teeth, cloth and frames in linear light. The same arithmetic as shade_numpy.py.
   Parameter and attribute offsets are those of raster.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VOL 128
static inline float clampf(float x, float a, float b) { return x < a ? a : (x > b ? b : x); }
static inline float ramp(float a, float b, float x) {
  float t = clampf((x - a) / (b - a), 0.f, 1.f);
  return t * t * (3.f - 2.f * t);
}
static inline float dot(const float *a, const float *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
static inline void unit(float *a) {
  float l = 1.f / (sqrtf(dot(a, a)) + 1e-9f);
  a[0] *= l, a[1] *= l, a[2] *= l;
}

/* Tileable noise volume (128^3 uint8), trilinear, coordinates in periods. */
static inline float noise(const unsigned char *vol, float x, float y, float z) {
  x = (x - floorf(x)) * VOL, y = (y - floorf(y)) * VOL, z = (z - floorf(z)) * VOL;
  int xi = (int)x, yi = (int)y, zi = (int)z;
  float fx = x - xi, fy = y - yi, fz = z - zi;
  xi &= VOL - 1, yi &= VOL - 1, zi &= VOL - 1;
  int x1 = (xi + 1) & (VOL - 1), y1 = (yi + 1) & (VOL - 1), z1 = (zi + 1) & (VOL - 1);
  const unsigned char *a = vol + (zi * VOL + yi) * VOL, *b = vol + (zi * VOL + y1) * VOL;
  const unsigned char *c = vol + (z1 * VOL + yi) * VOL, *d = vol + (z1 * VOL + y1) * VOL;
  float p = a[xi] + fx * (a[x1] - a[xi]), q = b[xi] + fx * (b[x1] - b[xi]);
  float r = c[xi] + fx * (c[x1] - c[xi]), s = d[xi] + fx * (d[x1] - d[xi]);
  p += fy * (q - p), r += fy * (s - r);
  return (p + fz * (r - p)) * (1.f / 255.f);
}

/* Offsets of parameters. */
enum { KEY = 0, KEYC = 3, RIM = 6, RIMC = 9, CUBE = 12, CAM = 30, SOFT = 33, SEED = 34, PORES = 37, FRECKLES = 38,
       WRINKLE = 39, BROWUP = 40, OIL = 41, SPEC = 42, MELANIN = 43, EYEL = 44, EYER = 57, IRIS = 70, IRIS2 = 73,
       PUPIL = 76, CLOTHC = 77, FRAMEC = 80, CATCH = 83, CATCHC = 92, MOLES = 101, LIPGLOSS = 133, REDEYE = 134,
       IRISR = 135, FILL = 136, FILLC = 139, CLOTHP = 142, CLOTH2 = 143, N_PARAMS = 146 };
/* Static attributes: reference position 3, albedo 3, occlusion, lip, gloss, inside, cloth. Moving ones: position 3,
   normal 3, soft normal 3, share of the key light that hair lets through. */
enum { PREF = 0, ALBEDO = 3, AO = 6, LIP = 7, GLOSS = 8, INSIDE = 9, CLOTH = 10, N_STATIC = 11 };
enum { POS = 0, NRM = 3, NSOFT = 6, PASS = 9, N_MOVING = 10 };

typedef struct {
  const float *p;
  const unsigned char *vol;
  const float *shadow, *frame;
  int shadow_size;
} Scene;

static void ambient(const float *cube, const float *n, float *out) {
  for (int k = 0; k < 3; k++) {
    float s = 0;
    for (int a = 0; a < 3; a++) s += n[a] * n[a] * cube[3 * (2 * a + (n[a] < 0)) + k];
    out[k] = s;
  }
}

/* Share of the key light that arrives, from a depth map: 3 x 3 taps on a turned grid. frame: origin 3, x axis 3, y axis 3, scale. */
static float shadow(const Scene *s, const float *pos, const float *n) {
  const float *f = s->frame, *key = s->p + KEY;
  float q[3];
  for (int k = 0; k < 3; k++) q[k] = pos[k] + n[k] * .02f - f[k];
  int size = s->shadow_size;
  float x = size * .5f + dot(q, f + 3) * f[9], y = size * .5f + dot(q, f + 6) * f[9], z = -dot(q, key);
  float sum = 0, step = s->p[SOFT];
  for (int j = 0; j < 3; j++)
    for (int i = 0; i < 3; i++) {
      int u = (int)floorf(x + (i - 1.f + .33f * (j - 1)) * 1.4f * step), v = (int)floorf(y + (j - 1.f - .33f * (i - 1)) * 1.4f * step);
      u = u < 0 ? 0 : (u >= size ? size - 1 : u), v = v < 0 ? 0 : (v >= size ? size - 1 : v);
      sum += clampf((s->shadow[v * size + u] - z) * 25.f + 1.5f, 0.f, 1.f);
    }
  return sum * (1.f / 9.f);
}

static float fifth(float x) { return x * x * x * x * x; }
static float lobe(float ndh, float power) { return (power + 8.f) * .04f * powf(ndh, power); }

static void skin(const Scene *s, const float *st, const float *mv, float *out) {
  const float *p = s->p, *pref = st + PREF;
  float n[3] = {mv[NRM], mv[NRM + 1], mv[NRM + 2]}, soft[3] = {mv[NSOFT], mv[NSOFT + 1], mv[NSOFT + 2]}, view[3];
  for (int k = 0; k < 3; k++) view[k] = p[CAM + k] - mv[POS + k];
  unit(n), unit(soft), unit(view);
  float x = pref[0], y = pref[1], z = pref[2], o = p[SEED], lip = ramp(.3f, .75f, st[LIP]), bare = 1 - lip;
  float fine = noise(s->vol, x * 2.9f + o, y * 2.9f, z * 2.9f), mid = noise(s->vol, x * .9f, y * .9f + o, z * .9f);
  float b0 = noise(s->vol, x * 2.3f + .31f, y * 2.3f + o, z * 2.3f) - .5f;
  float b1 = noise(s->vol, x * 2.3f + o, y * 2.3f + .63f, z * 2.3f) - .5f;
  float lines = lip > 0 ? noise(s->vol, x * 5.5f + o, y * .8f, z * .8f) - .5f : 0.f;
  float amp = p[PORES] * bare;
  float nb[3] = {n[0] + amp * b0 + lip * lines * .45f, n[1] + amp * b1, n[2]};
  float front = ramp(.75f, 1.05f, z), ax = fabsf(x);
  float brow = 0, crow = 0, bag = 0, cross = 0;
  if (z > .3f && (p[WRINKLE] > 0 || p[BROWUP] > 0)) {
  float warp = noise(s->vol, x * .35f + o, y * .35f, z * .35f) - .5f;
  if (y > 7.53f && y < 7.98f) brow = ramp(.36f, .54f, noise(s->vol, x * .8f + o, y * .3f, z * .4f)) * sinf(y * 52.f + 9.f * warp + ax * 2.f) * ramp(7.53f, 7.64f, y) * ramp(7.98f, 7.86f, y) * ramp(.56f, .38f, ax);
  float crow_u = ax - .52f, crow_v = y - 7.27f;
  if (ax > .5f && fabsf(crow_v) < .17f) crow = sinf(atan2f(crow_v, crow_u + .16f) * 17.f + 5.f * warp) * ramp(.50f, .56f, ax) * ramp(.74f, .64f, ax) * ramp(.17f, .08f, fabsf(crow_v));
  if (y < 7.2f && y > 7.f) bag = sinf((y - 7.13f) * 70.f - ax * 6.f + 6.f * warp) * ramp(.16f, .22f, ax) * ramp(.50f, .42f, ax) * ramp(.10f, .04f, fabsf(y - 7.10f));
  if (ax > .42f && y < 7.f) cross = sinf((ax * 30.f - (y - 6.9f) * 22.f) + 8.f * warp) * ramp(.42f, .55f, ax) * ramp(6.3f, 6.5f, y) * ramp(7.0f, 6.8f, y);
  }
  nb[1] += front * (brow * (.27f * p[WRINKLE] + .25f * p[BROWUP]) + bag * .20f * p[WRINKLE]);
  nb[1] += crow * .20f * p[WRINKLE] * ramp(.5f, .7f, z), nb[0] += cross * .10f * p[WRINKLE] * bare * (x < 0 ? -1.f : 1.f);
  unit(nb);
  float alb[3];
  float m = 1.f + .20f * (fine - .5f) + .16f * (mid - .5f);
  for (int k = 0; k < 3; k++) alb[k] = st[ALBEDO + k] * m;
  float creases = front * (ramp(.2f, 1.f, -brow) * (.7f * p[WRINKLE] + .5f * p[BROWUP])) + .4f * p[WRINKLE] * ramp(.2f, 1.f, -crow);
  alb[0] *= 1 - .16f * creases, alb[1] *= 1 - .24f * creases, alb[2] *= 1 - .24f * creases;
  if (p[FRECKLES] > 0 && z > .6f) {
  float spots = ramp(.58f, .74f, noise(s->vol, x * 2.6f + .5f, y * 2.6f + o, z * 2.6f + .2f));
  spots *= p[FRECKLES] * bare * ramp(.6f, 1.0f, z) * expf(-(y - 7.05f) * (y - 7.05f) / .16f) * ramp(.35f, .55f, mid);
  alb[0] *= 1 - .24f * spots, alb[1] *= 1 - .38f * spots, alb[2] *= 1 - .46f * spots;
  }
  for (int k = 0; k < 8; k++) {
    const float *mole = p + MOLES + 4 * k;
    if (mole[3] <= 0) continue;
    float d[3] = {x - mole[0], y - mole[1], z - mole[2]};
    float w = ramp(mole[3], .55f * mole[3], sqrtf(dot(d, d)));
    alb[0] *= 1 - .58f * w, alb[1] *= 1 - .68f * w, alb[2] *= 1 - .72f * w;
  }
  float inside = st[INSIDE], ao = st[AO] * (1 - .75f * inside), sh = 0;
  float hard = dot(nb, p + KEY), easy = dot(soft, p + KEY);
  if (hard > -.45f || easy > -.45f) sh = shadow(s, mv + POS, n) * mv[PASS] * (1 - .8f * inside);
  float amb[3], fill[3], ambn[3] = {.5f * (nb[0] + soft[0]), .5f * (nb[1] + soft[1]), .5f * (nb[2] + soft[2])};
  unit(ambn);
  ambient(p + CUBE, ambn, amb);
  float light = 1 - p[MELANIN], wrap[3] = {.26f + .14f * light, .10f + .08f * light, .06f + .05f * light};
  float blend[3] = {.75f, .40f, .25f}, shexp[3] = {.72f - .12f * light, 1.f, 1.08f}, aoexp[3] = {.82f - .1f * light, 1.f, 1.04f};
  float fillhard = dot(nb, p + FILL), rim = dot(nb, p + RIM);
  for (int k = 0; k < 3; k++) {
    float d = hard + blend[k] * (easy - hard), w = wrap[k];
    d = clampf((d + w) / (1 + w), 0, 1);
    fill[k] = clampf((fillhard + .35f) / 1.35f, 0, 1) * p[FILLC + k] * ao;
    float r = clampf((rim + .12f) / 1.12f, 0, 1) * p[RIMC + k];
    out[k] = alb[k] * (p[KEYC + k] * d * powf(sh + 1e-4f, shexp[k]) + amb[k] * powf(ao + 1e-4f, aoexp[k]) + fill[k] + r * ao);
  }
  float h[3] = {p[KEY] + view[0], p[KEY + 1] + view[1], p[KEY + 2] + view[2]};
  unit(h);
  float ndh = clampf(dot(nb, h), 0, 1), ndv = clampf(dot(nb, view), 0, 1), vdh = clampf(dot(view, h), 0, 1);
  float fres = .028f + .972f * fifth(1 - vdh), edge = fifth(1 - ndv);
  float gloss = st[GLOSS] * p[OIL] * (1.f + .8f * (fine - .5f)) + lip * p[LIPGLOSS];
  float lit = clampf(hard * 1.4f + .1f, 0, 1) * sh * p[SPEC];
  float spec = lit <= 0 ? 0 : fres * (.75f * lobe(ndh, 11.f) + .55f * gloss * lobe(ndh, 42.f) + lip * p[LIPGLOSS] * lobe(ndh, 110.f));
  spec *= lit;
  float refl[3], env[3], vn = 2 * dot(nb, view);
  for (int k = 0; k < 3; k++) refl[k] = vn * nb[k] - view[k];
  ambient(p + CUBE, refl, env);
  float cheen = (.022f + .22f * edge * clampf(1.2f * ao - .2f, 0, 1)) * (.45f + .35f * gloss) * ao * p[SPEC];
  float rimspec = edge * .35f * clampf(rim + .3f, 0, 1) * ao * bare;
  for (int k = 0; k < 3; k++) out[k] += (1 - inside) * (p[KEYC + k] * spec + env[k] * cheen + p[RIMC + k] * rimspec);
}

static void cloth(const Scene *s, const float *st, const float *mv, float *out) {
  const float *p = s->p, *pref = st + PREF;
  float n[3] = {mv[NRM], mv[NRM + 1], mv[NRM + 2]};
  unit(n);
  float weave = noise(s->vol, pref[0] * 5.f, pref[1] * 5.f, pref[2] * 5.f) - .5f;
  float fold = noise(s->vol, pref[0] * .30f + p[SEED], pref[1] * .16f, pref[2] * .30f) - .5f;
  float f2 = noise(s->vol, pref[0] * .30f + p[SEED], pref[1] * .16f + .13f, pref[2] * .30f) - .5f;
  int hat = pref[1] > 6.9f;
  float rib = hat || (p[CLOTHP] > .5f && st[CLOTH] < .12f) ? .25f * sinf(atan2f(pref[0], pref[2] + .2f) * 90.f) : 0.f;
  n[0] += .9f * fold + .35f * weave + rib, n[1] += .7f * f2 + .3f * weave;
  unit(n);
  float seam = 1 - .35f * ramp(.02f, .0f, fabsf(st[CLOTH] - .12f)) - .25f * ramp(.03f, .0f, st[CLOTH]);
  float stripe = hat ? 1.f : p[CLOTHP] > 1.5f ? ramp(-.1f, .1f, sinf(pref[1] * 24.f)) : 0.f;
  float amb[3], sh = shadow(s, mv + POS, n) * mv[PASS], ao = .35f + .65f * st[AO];
  ambient(p + CUBE, n, amb);
  float d = clampf((dot(n, p + KEY) + .15f) / 1.15f, 0, 1), r = clampf(dot(n, p + RIM), 0, 1), f = clampf(dot(n, p + FILL), 0, 1);
  for (int k = 0; k < 3; k++) {
    float c = p[CLOTHC + k] + stripe * (p[CLOTH2 + k] - p[CLOTHC + k]);
    out[k] = c * (1 + .3f * weave) * seam * (p[KEYC + k] * d * sh + amb[k] * ao + r * p[RIMC + k] + f * p[FILLC + k] * ao);
  }
}

/* `above`, `side`: 1 next to the lid, 0 far from it. */
static void eye(const Scene *s, const float *mv, int right, float above, float side, float *out) {
  const float *p = s->p, *e = p + (right ? EYER : EYEL);
  float d[3], q[3], view[3], v[3];
  for (int k = 0; k < 3; k++) q[k] = mv[POS + k] - e[k], view[k] = p[CAM + k] - mv[POS + k];
  unit(view);
  float r = 1.f / e[12];
  for (int k = 0; k < 3; k++) {
    d[k] = (e[3 + k] * q[0] + e[6 + k] * q[1] + e[9 + k] * q[2]) * r;
    v[k] = e[3 + k] * view[0] + e[6 + k] * view[1] + e[9 + k] * view[2];
  }
  float ri = p[IRISR], rho = sqrtf(d[0] * d[0] + d[1] * d[1]) / ri;
  float dome = clampf(1 - rho * rho, 0, 1) * (d[2] > 0 ? 1 : 0);
  float iu = d[0] - .16f * dome * v[0], iv = d[1] - .16f * dome * v[1];
  float ir = sqrtf(iu * iu + iv * iv) / ri, an = atan2f(iv, iu);
  float fib = noise(s->vol, .5f + .5f * cosf(an) * .62f + p[SEED], .5f + .5f * sinf(an) * .62f, ir * .14f) - .5f;
  float fib2 = noise(s->vol, iu * 2.2f + p[SEED], iv * 2.2f, .7f) - .5f;
  float inner = ramp(.75f, .30f, ir), tone = 1.f + 1.5f * fib + .6f * fib2 + .30f * ramp(.35f, .85f, ir);
  float limb = ramp(.74f, .99f, ir), pupil = ramp(p[PUPIL] + .05f, p[PUPIL] - .05f, ir), on = ramp(1.06f, .93f, rho) * (d[2] > 0 ? 1.f : 0.f);
  float vein = noise(s->vol, d[0] * .9f + p[SEED], d[1] * 2.6f, d[2] * .5f), corner = ramp(1.35f, 2.1f, rho);
  float red = p[REDEYE] * (.35f * ramp(.55f, .75f, vein) + .8f * corner);
  float white[3] = {.63f * (1 - .10f * red), .595f * (1 - .36f * red), .565f * (1 - .38f * red)};
  float col[3], amb[3], nw[3];
  float bulge = .42f * ramp(1.05f, .6f, rho);
  float nl[3] = {d[0] * (1 + bulge), d[1] * (1 + bulge), d[2]};
  for (int k = 0; k < 3; k++) nw[k] = e[3 + 3 * k] * nl[0] + e[4 + 3 * k] * nl[1] + e[5 + 3 * k] * nl[2];
  unit(nw);
  for (int k = 0; k < 3; k++) {
    float c = (p[IRIS + k] + inner * (p[IRIS2 + k] - p[IRIS + k])) * clampf(tone, .2f, 1.9f);
    c = c * (1 - .82f * limb), c = c * (1 - pupil) + .004f * pupil;
    col[k] = white[k] * (1 - on) + c * on;
  }
  float sh = shadow(s, mv + POS, nw), lid = (1 - .62f * above) * (1 - .30f * side), ball[3];
  for (int k = 0; k < 3; k++) ball[k] = e[3 + 3 * k] * d[0] + e[4 + 3 * k] * d[1] + e[5 + 3 * k] * d[2];
  unit(ball);
  ambient(p + CUBE, ball, amb);
  float diff = clampf((dot(ball, p + KEY) + .35f) / 1.35f, 0, 1), f = clampf((dot(ball, p + FILL) + .3f) / 1.3f, 0, 1);
  float caustic = on * (1 - pupil) * clampf(-(iu * p[KEY] + iv * p[KEY + 1]) * 2.2f / ri, 0, 1) * .55f;
  float vn = 2 * dot(nw, view), refl[3], env[3], edge = powf(1 - clampf(dot(nw, view), 0, 1), 4);
  for (int k = 0; k < 3; k++) refl[k] = vn * nw[k] - view[k];
  unit(refl);
  ambient(p + CUBE, refl, env);
  for (int k = 0; k < 3; k++) {
    float x = col[k] * lid * (p[KEYC + k] * diff * (.35f + .65f * sh) * (1 + caustic) + amb[k] * .85f + f * p[FILLC + k]);
    x += env[k] * (.030f + .10f * edge) * (1 - .7f * above);
    for (int c = 0; c < 3; c++) {
      float near = dot(refl, p + CATCH + 3 * c), size = p[CATCHC + 3 * c + 1];
      x += p[CATCHC + 3 * c] * ramp(size - .028f, size + .006f, near) * (1 - .8f * above) * (k == 2 ? p[CATCHC + 3 * c + 2] : 1.f);
    }
    out[k] = x;
  }
}

static void hard_thing(const Scene *s, const float *colour, float gloss, float lid, const float *mv, float *out) {
  const float *p = s->p;
  float n[3] = {mv[NRM], mv[NRM + 1], mv[NRM + 2]}, view[3], amb[3], env[3], refl[3];
  for (int k = 0; k < 3; k++) view[k] = p[CAM + k] - mv[POS + k];
  unit(n), unit(view);
  if (dot(n, view) < 0) for (int k = 0; k < 3; k++) n[k] = -n[k];
  float h[3] = {p[KEY] + view[0], p[KEY + 1] + view[1], p[KEY + 2] + view[2]}, vn = 2 * dot(n, view);
  unit(h);
  for (int k = 0; k < 3; k++) refl[k] = vn * n[k] - view[k];
  ambient(p + CUBE, n, amb), ambient(p + CUBE, refl, env);
  float sh = shadow(s, mv + POS, n), d = clampf((dot(n, p + KEY) + .2f) / 1.2f, 0, 1), edge = powf(1 - clampf(dot(n, view), 0, 1), 5);
  float spec = gloss * lobe(clampf(dot(n, h), 0, 1), 60.f) * .35f * sh;
  for (int k = 0; k < 3; k++)
    out[k] = lid * (colour[k] * (p[KEYC + k] * d * (.3f + .7f * sh) + amb[k] + .5f * p[FILLC + k]) + spec * p[KEYC + k] + env[k] * gloss * (.05f + .5f * edge));
}

/* How near a sample is to the rim of its part, upwards or sideways: 1 next to it, 0 at `reach` samples or more. */
static float nearness(const int *ids, const int *material, int big, int x, int y, int m, int dx, int dy, int reach) {
  for (int k = 1; k <= reach; k++) {
    int u = x + dx * k, v = y + dy * k;
    if (u < 0 || v < 0 || u >= big || v >= big) return 0;
    int t = ids[v * big + u];
    if (t < 0 || material[t] != m) return 1.f - (k - 1) / (float)reach;
  }
  return 0;
}

static void gather(const int *f, const float *attr, const float *moving, int t, const float *bary, float *st, float *mv) {
  float w0 = bary[0], w1 = bary[1], w2 = 1 - w0 - w1;
  const float *a = attr + N_STATIC * f[3 * t], *b = attr + N_STATIC * f[3 * t + 1], *c = attr + N_STATIC * f[3 * t + 2];
  for (int k = 0; k < N_STATIC; k++) st[k] = w0 * a[k] + w1 * b[k] + w2 * c[k];
  a = moving + N_MOVING * f[3 * t], b = moving + N_MOVING * f[3 * t + 1], c = moving + N_MOVING * f[3 * t + 2];
  for (int k = 0; k < N_MOVING; k++) mv[k] = w0 * a[k] + w1 * b[k] + w2 * c[k];
}

/* Whether the four samples of a pixel show one smooth piece of skin or cloth: then one shading does for all. */
static int uniform(float st[4][N_STATIC], float mv[4][N_MOVING]) {
  for (int s = 1; s < 4; s++) {
    if ((st[s][CLOTH] > 0) != (st[0][CLOTH] > 0) || fabsf(st[s][LIP] - st[0][LIP]) > .35f) return 0;
    if (fabsf(st[s][INSIDE] - st[0][INSIDE]) > .3f || dot(mv[s] + NRM, mv[0] + NRM) < .80f) return 0;
    float d[3] = {mv[s][0] - mv[0][0], mv[s][1] - mv[0][1], mv[s][2] - mv[0][2]};
    if (dot(d, d) > .0064f) return 0;
  }
  return 1;
}

/* colour (big^2, 3): linear light of every sample that shows the mesh; `big` is even. hair (big^2, 4): see raster.c;
   what it hides (HIDDEN and more) is not shaded. */
#define HIDDEN .98f
void shade(const int *f, const float *attr, const float *moving, const int *material, int big, const int *ids,
           const float *bary, const float *hair, const float *params, const unsigned char *vol, const float *shadow_map, int shadow_size,
           const float *frame, float *colour) {
  Scene scene = {params, vol, shadow_map, frame, shadow_size};
  int reach = big / 40 < 2 ? 2 : big / 40;
  for (int p = 0; p < big * big / 4; p++) {
    int x0 = 2 * (p % (big / 2)), y0 = 2 * (p / (big / 2)), at[4], skins = 0, seen = 0;
    float st[4][N_STATIC], mv[4][N_MOVING];
    for (int s = 0; s < 4; s++) {
      int i = at[s] = (y0 + s / 2) * big + x0 + s % 2;
      if (ids[i] < 0) continue;
      seen += hair[4 * i + 3] < HIDDEN;
      gather(f, attr, moving, ids[i], bary + 2 * i, st[s], mv[s]);
      skins += material[ids[i]] == 0;
    }
    if (!seen) continue;
    if (skins == 4 && uniform(st, mv)) {
      for (int k = 0; k < N_STATIC; k++) st[0][k] = .25f * (st[0][k] + st[1][k] + st[2][k] + st[3][k]);
      for (int k = 0; k < N_MOVING; k++) mv[0][k] = .25f * (mv[0][k] + mv[1][k] + mv[2][k] + mv[3][k]);
      float out[3];
      if (st[0][CLOTH] > 0) cloth(&scene, st[0], mv[0], out);
      else skin(&scene, st[0], mv[0], out);
      for (int s = 0; s < 4; s++) memcpy(colour + 3 * at[s], out, sizeof out);
      continue;
    }
    for (int s = 0; s < 4; s++) {
      int t = ids[at[s]], x = x0 + s % 2, y = y0 + s / 2;
      if (t < 0) continue;
      float *out = colour + 3 * at[s];
      int m = material[t];
      if (m == 0) {
        if (st[s][CLOTH] > 0) cloth(&scene, st[s], mv[s], out);
        else skin(&scene, st[s], mv[s], out);
      } else if (m == 1 || m == 2) {
        float above = nearness(ids, material, big, x, y, m, 0, -1, reach), below = nearness(ids, material, big, x, y, m, 0, 1, reach / 2);
        float side = fmaxf(nearness(ids, material, big, x, y, m, 1, 0, reach), nearness(ids, material, big, x, y, m, -1, 0, reach));
        eye(&scene, mv[s], m == 2, above * above, fmaxf(side, .7f * below), out);
      } else if (m == 3 || m == 4) {
        static const float teeth[3] = {.66f, .58f, .47f}, tongue[3] = {.42f, .15f, .14f};
        float lid = 1 - .55f * nearness(ids, material, big, x, y, m, 0, -1, reach);
        if (m == 3) lid *= 1 - .42f * ramp(.90f, 1.f, fabsf(cosf(atan2f(st[s][0], st[s][2] - .95f) * 18.5f)));
        hard_thing(&scene, m == 3 ? teeth : tongue, .5f, lid * st[s][AO], mv[s], out);
      } else if (m == 7) {
        static const float lens[3] = {.010f, .009f, .009f};
        hard_thing(&scene, lens, 2.2f, 1.f, mv[s], out);
      } else hard_thing(&scene, params + FRAMEC, 1.f, 1.f, mv[s], out);
    }
  }
}

/* Lays hair (premultiplied light and coverage) over the mesh, applies the film curve, takes the mean of four samples in
   linear display light, and puts the background behind. background (side, side, 3) display values, shown by turn (c, s)
   and share. out (size^2, 3) display values 0..1, cover (size^2); size = big / 2. */
void develop(const float *colour, const int *ids, const float *hair, const float *background, int side,
             const float *shown, int big, const float *gain, float *out, float *cover) {
  int size = big / 2;
  for (int p = 0; p < size * size; p++) {
    float sum[3] = {0, 0, 0}, total = 0, back[3];
    for (int s = 0; s < 4; s++) {
      int i = (2 * (p / size) + s / 2) * big + 2 * (p % size) + s % 2;
      float h = hair[4 * i + 3], c = ids[i] >= 0 ? 1 : h;
      if (c <= .004f) continue;
      total += c;
      for (int k = 0; k < 3; k++) {
        float x = (hair[4 * i + k] + (ids[i] >= 0 ? (1 - h) * colour[3 * i + k] : 0)) * gain[k] / c;
        x = x > 0 ? x : 0;
        x = x * (2.51f * x + .10f) / (x * (2.30f * x + .72f) + .20f);
        sum[k] += c * (x > 1 ? 1 : x);
      }
    }
    cover[p] = .25f * total;
    float u = (p % size + .5f) / size - .5f, v = (p / size + .5f) / size - .5f;
    float bx = clampf((.5f + shown[2] * (shown[0] * u - shown[1] * v)) * side - .5f, 0, side - 1.001f);
    float by = clampf((.5f + shown[2] * (shown[1] * u + shown[0] * v)) * side - .5f, 0, side - 1.001f);
    int xi = (int)bx, yi = (int)by;
    const float *b = background + 3 * (yi * side + xi);
    bx -= xi, by -= yi;
    for (int k = 0; k < 3; k++)
      back[k] = (b[k] * (1 - bx) + b[k + 3] * bx) * (1 - by) + (b[k + 3 * side] * (1 - bx) + b[k + 3 + 3 * side] * bx) * by;
    for (int k = 0; k < 3; k++) {
      float x = total > 0 ? sum[k] / total : 0;
      x = x <= .0031308f ? 12.92f * x : 1.055f * powf(x, 1.f / 2.4f) - .055f;
      out[3 * p + k] = cover[p] * x + (1 - cover[p]) * back[k];
    }
  }
}
