"""The scenes in MJCF: robot, drawers, tray and object, made of primitives by hand.

Lengths in metres, masses in kilograms. The origin is the foot of the robot on the table top, y points away
from the robot towards the camera, x to the left of the image, z up: COG's world is this one moved by
(0.6, 0, -0.37). Where the scene differs from COG's (Widow250 in roboverse, on PyBullet), and why:

- Boxes and capsules stand for the robot's meshes and for ShapeNet's objects: nothing to download or license,
  and twenty times as fast to draw. The arm has the WidowX-250s' link lengths and six joints; only its hand
  collides.
- The hand is welded to a mocap body that actions move, in place of inverse kinematics with position control.
  Gravity is compensated on the robot alone.
- The drawers are 16 cm long and travel 15 cm (COG: 14 and 12), so that the gripper fits into the open one
  beside the object. The handle is a bar that a finger hooks behind; COG's holds by very high friction.
- The object is a cube of 36 mm in every task (COG: a shoe, a ball), the widest the gripper takes with ease:
  four pixels of the image.
- The camera looks down at COG's angle, 40 degrees, from 46 cm (COG: 29), so that 48 pixels show both ends of
  the drawers' travel.
- No shadows, reflections, textures or multisampling in what agents see: shadows alone would take five times
  the rest of a step. `Quality.PRINT` draws the same scene with them.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

# The robot: WidowX-250s, joint to joint ([COG] of roboverse: its URDF).
_WAIST_HEIGHT = 0.0716
_SHOULDER_HEIGHT = _WAIST_HEIGHT + 0.03865
_UPPER_ARM = (0.04975, 0.25)  # forward, up
_FOREARM = 0.175 + 0.075
_HAND = 0.065 + 0.043 + 0.023 + 0.0276

FINGER_OPEN = 0.037
"""How far a finger's inner face is from the middle of the open hand [COG]; 0 where the fingers meet."""

TIMESTEP = 0.004
"""Seconds: the longest at which a grasped cube stays in the hand; the contacts' 0.02 s needs five of them."""

# The drawers. A drawer's x is 0 where it is closed and `DRAWER_TRAVEL` where it is open.
CABINET_Y = 0.22
DRAWER_TRAVEL = 0.15
_DRAWER_LENGTH, _DRAWER_WIDTH, _DRAWER_HEIGHT = 0.16, 0.13, 0.040
_BOARD = 0.004  # thickness of walls and floors
_FRONT = 0.012  # of a drawer's front: a finger at full speed would pass through a thin one
_TOP_DRAWER_Z = 0.056  # room for the object to tumble in the closed bottom drawer
_CABINET_TOP = _TOP_DRAWER_Z + _DRAWER_HEIGHT + 0.006
HANDLE = np.array([0.038, CABINET_Y, 0.024])
"""The middle of the handle's bar where the bottom drawer is closed."""
HANDLE_GAP = 0.032
"""Between the drawer's front and the bar: room for a finger of 8 mm and the noise of where it comes down."""

OBJECT_HALF = 0.018
TRAY = np.array([-0.10, 0.22])
"""The middle of the tray, x and y [COG]."""
_TRAY_HALF = 0.065

_RED, _GREEN, _BLUE = "0.85 0.12 0.10 1", "0.10 0.62 0.20 1", "0.20 0.36 0.80 1"
_TABLE, _WOOD = "0.78 0.80 0.82 1", "0.45 0.29 0.17 1"
_LIGHT_WOOD, _CREAM = "0.80 0.62 0.38 1", "0.95 0.90 0.76 1"
_METAL, _DARK, _YELLOW = "0.32 0.35 0.40 1", "0.13 0.13 0.15 1", "0.98 0.78 0.10 1"


class Quality(Enum):
    """How a scene is drawn: fast for agents, or fair for print."""

    AGENT = '<quality shadowsize="0" offsamples="0" numslices="12" numstacks="6" numquads="1"/>'
    PRINT = '<quality shadowsize="4096" offsamples="8" numslices="48" numstacks="24" numquads="4"/>'


def tray_scene(quality: Quality) -> str:
    """MJCF of the robot, the tray and the object."""
    return _scene(_tray(), quality)


def drawer_scene(quality: Quality) -> str:
    """MJCF of the robot, the two drawers and the object."""
    return _scene(
        _cabinet() + _drawer("top", _TOP_DRAWER_Z, _CREAM) + _drawer("bottom", 0.0, _LIGHT_WOOD, _handle()),
        quality,
    )


def goal_scene(quality: Quality = Quality.AGENT) -> str:
    """MJCF of the robot, the object and a point that is a goal, which is seen and not touched.

    The object slides on this table; the fingers' grip is as firm as elsewhere.
    """
    return _scene(
        f"""<body name="goal" mocap="true">
      <geom type="sphere" size="{OBJECT_HALF}" contype="0" conaffinity="0" rgba="{_RED}"/></body>""",
        quality,
        '<contact><pair geom1="table" geom2="object" condim="4" friction="0.3 0.3 0.005"/></contact>',
    )


def joints_of_hand_down(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return six joint angles [6], in radians, that hold the hand at `position` [3], pointing straight down.

    The fingers open along x. Closed form: the waist turns the arm's plane, two links with the elbow up reach
    the wrist in it, the wrist makes up for both.
    """
    x, y, z = position
    waist = np.arctan2(-x, y)
    reach, height = np.hypot(x, y), z + _HAND - _SHOULDER_HEIGHT
    upper_arm, distance = np.hypot(*_UPPER_ARM), np.hypot(reach, height)
    cosine = (upper_arm**2 + distance**2 - _FOREARM**2) / (2 * upper_arm * distance)
    direction = np.arctan2(height, reach) + np.arccos(np.clip(cosine, -1.0, 1.0))
    shoulder = direction - np.arctan2(_UPPER_ARM[1], _UPPER_ARM[0])
    elbow_at = upper_arm * np.array([np.cos(direction), np.sin(direction)])
    forearm = np.arctan2(height - elbow_at[1], reach - elbow_at[0])
    return np.array([waist, shoulder, forearm - shoulder, 0.0, -forearm, -waist])


def _scene(furniture: str, quality: Quality, contact: str = "") -> str:
    # A plane is drawn in tiles: one that reaches the overview's horizon takes seven times as long.
    table = 20 if quality is Quality.PRINT else 3
    shadows = str(quality is Quality.PRINT).lower()
    hand = f"0 {_UPPER_ARM[0] + _FOREARM} {_SHOULDER_HEIGHT + _UPPER_ARM[1] - _HAND}"
    return f"""
<mujoco>
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" impratio="5" iterations="20"
          ls_iterations="10">
    <flag eulerdamp="disable"/>
  </option>
  <visual>
    <global offwidth="960" offheight="960"/>
    <headlight ambient="0.42 0.42 0.42" diffuse="0.22 0.22 0.22" specular="0 0 0"/>
    <map znear="0.05" zfar="30"/>
    {quality.value}
  </visual>
  <default>
    <geom contype="1" conaffinity="0" friction="0.6 0.005 0.0001"/>
    <default class="robot"><joint damping="1" armature="0.01"/></default>
    <default class="link"><geom type="capsule" contype="0" conaffinity="0" rgba="{_METAL}"/></default>
    <default class="finger">
      <joint type="slide" axis="1 0 0" range="0 {FINGER_OPEN}" damping="6" armature="0.01"/>
      <geom type="box" size="0.004 0.011 0.026" contype="2" conaffinity="1" friction="2 0.02 0.001" condim="4"
            mass="0.02" rgba="{_YELLOW}"/>
      <position kp="60" ctrlrange="0 {FINGER_OPEN}"/>
    </default>
  </default>
  <worldbody>
    <light directional="true" pos="0.3 0.5 1" dir="-0.35 -0.35 -1" diffuse="0.45 0.45 0.45" specular="0 0 0"
           castshadow="{shadows}"/>
    <camera name="front" pos="0.02 0.552 0.396" xyaxes="-1 0 0 0 -0.643 0.766" fovy="54"/>
    <camera name="overview" pos="0.47 0.80 0.50" xyaxes="-0.84 0.543 0 -0.225 -0.348 0.910" fovy="40"/>
    <geom name="table" type="plane" size="{table} {table} 0.1" rgba="{_TABLE}"/>
    <body name="target" mocap="true" pos="{hand}"/>
    {_robot()}
    {furniture}
    <body name="object" pos="0.06 {CABINET_Y} {OBJECT_HALF}">
      <freejoint name="object"/>
      <geom name="object" type="box" size="{OBJECT_HALF} {OBJECT_HALF} {OBJECT_HALF}" mass="0.05" contype="0"
            conaffinity="3" condim="4" friction="2 0.02 0.001" rgba="{_GREEN}"/>
    </body>
  </worldbody>
  {contact}
  <equality>
    <weld body1="target" body2="hand" relpose="0 0 0 1 0 0 0" solref="0.03 1" torquescale="1"/>
  </equality>
  <actuator>
    <position class="finger" joint="left finger"/>
    <position class="finger" joint="right finger"/>
  </actuator>
</mujoco>
"""


def _robot() -> str:
    """Return arm, its joints at zero: upper arm up, forearm forward, hand down, all frames as the world's."""
    forward, up = _UPPER_ARM
    return f"""
    <geom class="link" type="cylinder" size="0.05 0.02" pos="0 0 0.02" rgba="{_DARK}"/>
    <body name="waist" pos="0 0 {_WAIST_HEIGHT}" childclass="robot" gravcomp="1">
      <joint name="waist" axis="0 0 1"/>
      <geom class="link" fromto="0 0 -0.03 0 0 0.035" size="0.035" mass="0.4" rgba="{_DARK}"/>
      <body name="upper arm" pos="0 0 {_SHOULDER_HEIGHT - _WAIST_HEIGHT}" gravcomp="1">
        <joint name="shoulder" axis="1 0 0"/>
        <geom class="link" fromto="0 0 0 0 0 {up}" size="0.022" mass="0.3"/>
        <geom class="link" fromto="0 0 {up} 0 {forward} {up}" size="0.022" mass="0.1"/>
        <body name="forearm" pos="0 {forward} {up}" gravcomp="1">
          <joint name="elbow" axis="1 0 0"/>
          <geom class="link" fromto="0 0 0 0 0.17 0" size="0.018" mass="0.1"/>
          <body name="forearm roll" gravcomp="1">
            <joint name="forearm roll" axis="0 1 0"/>
            <geom class="link" fromto="0 0.17 0 0 {_FOREARM} 0" size="0.016" mass="0.1" rgba="{_DARK}"/>
            <body name="wrist" pos="0 {_FOREARM} 0" gravcomp="1">
              <joint name="wrist angle" axis="1 0 0"/>
              <geom class="link" fromto="0 0 0 0 0 -0.06" size="0.016" mass="0.1"/>
              <body name="hand" pos="0 0 {-_HAND}" gravcomp="1">
                <joint name="wrist rotate" axis="0 0 1"/>
                <geom class="link" fromto="0 0 0.095 0 0 0.06" size="0.016" mass="0.05"/>
                <geom type="box" pos="0 0 0.052" size="0.048 0.016 0.011" contype="2" conaffinity="1"
                      mass="0.1" rgba="{_DARK}"/>
                {_finger("left", 1)}
                {_finger("right", -1)}
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>"""


def _finger(name: str, side: int) -> str:
    return f"""
                <body name="{name} finger" pos="{side * 0.004} 0 0.014" childclass="finger" gravcomp="1">
                  <joint name="{name} finger" axis="{side} 0 0"/>
                  <geom/>
                </body>"""


def _tray() -> str:
    x, y = TRAY
    rim, height = 0.005, 0.008
    walls = "".join(
        _box((x + dx, y + dy, height), (half_x, half_y, height), _BLUE)
        for dx, dy, half_x, half_y in (
            (_TRAY_HALF - rim, 0, rim, _TRAY_HALF),
            (rim - _TRAY_HALF, 0, rim, _TRAY_HALF),
            (0, _TRAY_HALF - rim, _TRAY_HALF, rim),
            (0, rim - _TRAY_HALF, _TRAY_HALF, rim),
        )
    )
    return _box((x, y, 0.002), (_TRAY_HALF, _TRAY_HALF, 0.002), "0.45 0.62 0.95 1") + walls


def _cabinet() -> str:
    """Build the frame that the drawers slide in: two sides, a back and a top."""
    half_length, half_width = _DRAWER_LENGTH / 2, _DRAWER_WIDTH / 2 + 2 * _BOARD
    middle, half_height, thin = -half_length, _CABINET_TOP / 2, _BOARD / 2
    return (
        _box((middle, CABINET_Y - half_width, half_height), (half_length, thin, half_height), _WOOD)
        + _box((middle, CABINET_Y + half_width, half_height), (half_length, thin, half_height), _WOOD)
        + _box((-_DRAWER_LENGTH - _BOARD, CABINET_Y, half_height), (thin, half_width, half_height), _WOOD)
        + _box((middle, CABINET_Y, _CABINET_TOP + thin), (half_length, half_width, thin), _WOOD)
    )


def _drawer(name: str, height: float, colour: str, handle: str = "") -> str:
    """Return a box without a lid that slides along x, its front at the cabinet's front where it is closed."""
    half_length, half_width, half_height = _DRAWER_LENGTH / 2, _DRAWER_WIDTH / 2, _DRAWER_HEIGHT / 2
    thin, front = _BOARD / 2, _FRONT / 2
    return f"""
    <body name="{name} drawer" pos="{-half_length} {CABINET_Y} {height}">
      <joint name="{name} drawer" type="slide" axis="1 0 0" range="0 {DRAWER_TRAVEL}" damping="4"
             armature="0.05"/>
      {_box((0, 0, thin), (half_length, half_width, thin), colour, 0.1)}
      {_box((half_length - front, 0, half_height), (front, half_width, half_height), colour, 0.03)}
      {_box((thin - half_length, 0, half_height), (thin, half_width, half_height), colour, 0.03)}
      {_box((0, half_width - thin, half_height), (half_length, thin, half_height), colour, 0.03)}
      {_box((0, thin - half_width, half_height), (half_length, thin, half_height), colour, 0.03)}
      {handle}
    </body>"""


def _handle() -> str:
    """Return a bar along y, held in front of the drawer by two arms."""
    front, bar, z = _DRAWER_LENGTH / 2, 0.006, HANDLE[2]
    reach = HANDLE_GAP / 2
    return _box((front + HANDLE_GAP + bar, 0, z), (bar, 0.040, bar), _RED, 0.02) + "".join(
        _box((front + reach, side * 0.036, z), (reach, 0.004, bar), _RED, 0.01) for side in (-1, 1)
    )


def _box(
    position: tuple[float, ...], half_size: tuple[float, ...], colour: str, mass: float | None = None
) -> str:
    numbers = [" ".join(f"{value:.6g}" for value in values) for values in (position, half_size)]
    weight = "" if mass is None else f' mass="{mass}"'
    return f'<geom type="box" pos="{numbers[0]}" size="{numbers[1]}" rgba="{colour}"{weight}/>'
